"""What really happened, written in the words of `events.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.simulate.picture import View
from edge.simulate.plan import Change, Plan
from edge.simulate.scene import Camera
from edge.simulate.settings import Settings
from edge.simulate.shelf import BOARD_DEPTH, RAIL_HEIGHT, Shelf, Stack


def truth_of(
    settings: Settings, plan: Plan, views: Mapping[str, tuple[int, bool, View]]
) -> list[dict[str, Any]]:
    """Return one object per event and camera that sees it, in order of time.

    views: by camera, the number of its shelf, whether it hangs above, and its view.
    """
    lines = []
    for camera, (shelf, above, view) in views.items():
        stacks = view.shelf.stacks
        for change in plan.changes:
            if change.shelf != shelf:
                continue
            after = replaced(stacks, change)
            if change.event:
                line = _line(settings, change, camera, above, view, stacks, after)
                if line is not None:
                    lines.append(line)
            stacks = after
    return sorted(lines, key=lambda line: (line["time_s"], line["camera"]))


def replaced(stacks: tuple[Stack, ...], change: Change) -> tuple[Stack, ...]:
    """Return a shelf's stacks after a change."""
    return (*stacks[: change.facing], change.after, *stacks[change.facing + 1 :])


def _line(
    settings: Settings, change: Change, camera: str, above: bool, view: View,
    before: tuple[Stack, ...], after: tuple[Stack, ...],
) -> dict[str, Any] | None:  # fmt: skip
    reach = change.reach
    seen = view.still.seen(before if reach.after is None else after, change.facing)
    if seen is None:
        return None
    product = reach.item.product
    return {
        "kind": str(reach.act),
        "time_s": round(change.time_s, 3),
        "camera": camera,
        "zone": zone_id(view.shelf.facings[change.facing].row),
        "box": list(seen.box),
        "quantity": 1,
        "sku": product.sku if product.known else None,
        "session": reach.visit.session,
        "unknown": not product.known,
        "misplaced": reach.misplaced,
        "difficulty": {
            "lighting": str(settings.lighting),
            "occlusion": str(settings.occlusion),
            "lookalike": product.family is not None,
            "depth_before": len(change.before),
            "depth_after": len(change.after),
            "angle": "above" if above else "front",
            "visible": round(seen.share, 2),
        },
    }


def zone_id(row: int) -> str:
    """Return the name of a board's zone."""
    return f"board-{row + 1}"


def zones_of(shelf: Shelf, camera: Camera) -> list[dict[str, Any]]:
    """Return a camera's zones, one a board: where goods stand on it, in whole pixels."""
    half = shelf.width / 2
    zones = []
    for row in shelf.rows:
        low, high = row.y - RAIL_HEIGHT * 0.4, row.y + row.room
        box = np.array(
            [
                [x, y, z]
                for x in (-half, half)
                for y in (low, high)
                for z in (0.0, BOARD_DEPTH * 0.7)
            ]
        )
        front = camera.project(box[[0, 4, 6, 2]])[:, :2]
        rear = camera.project(box[[3, 7]])[:, :2]
        left, right = front[3], front[2]
        upper = (
            min(float(left[1]), float(rear[:, 1].min()))
            if row.number == len(shelf.rows) - 1
            else float(left[1])
        )
        corners = [front[0], front[1], (right[0], upper), (left[0], upper)]
        polygon = [
            [round(min(max(float(x), 0.0), camera.width - 1)),
             round(min(max(float(y), 0.0), camera.height - 1))]
            for x, y in corners
        ]  # fmt: skip
        zones.append({"id": zone_id(row.number), "polygon": polygon, "groups": []})
    return zones
