"""Match events with what really happened.

An event and a truth belong together where they are of one kind and camera, close in time, and their
boxes overlap or one's middle lies in the other; each belongs to at most one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]
"""An event as `events.jsonl` and `truth.jsonl` hold it: kind, camera, time_s, box."""

WITHIN_S = 1.5
MIN_IOU = 0.1


def match(found: Sequence[Line], truth: Sequence[Line]) -> dict[int, int]:
    """Return which found event belongs to which truth, by their positions: as many as can be.

    Of several that could, the nearest in time is preferred.
    """
    wanted = [
        sorted(
            (n for n, event in enumerate(found) if belong(event, fact)),
            key=lambda n, fact=fact: abs(found[n]["time_s"] - fact["time_s"]),  # type: ignore[misc]
        )
        for fact in truth
    ]
    taken: dict[int, int] = {}

    def place(fact: int, tried: set[int]) -> bool:
        """Give a truth an event, moving others to another one where that is needed."""
        for event in wanted[fact]:
            if event in tried:
                continue
            tried.add(event)
            if event not in taken or place(taken[event], tried):
                taken[event] = fact
                return True
        return False

    for fact in range(len(truth)):
        place(fact, set())
    return taken


def belong(event: Line, fact: Line) -> bool:
    """Return whether an event can be what a truth says."""
    return (
        event["kind"] == fact["kind"]
        and abs(event["time_s"] - fact["time_s"]) <= WITHIN_S
        and same_place(event, fact)
    )


def same_place(event: Line, fact: Line) -> bool:
    """Return whether an event is where a truth is."""
    if event["camera"] != fact["camera"]:
        return False
    a, b = event["box"], fact["box"]
    return overlap(a, b) >= MIN_IOU or _holds_middle(a, b) or _holds_middle(b, a)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes (x1, y1, x2, y2), 0 where both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    whole = _area(a) + _area(b) - both
    return both / whole if whole > 0 else 0.0


def _area(box: Sequence[float]) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _holds_middle(outer: Sequence[float], inner: Sequence[float]) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]
