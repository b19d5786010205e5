"""The last seconds of a camera as small grey pictures: when did an item leave or arrive? Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SMOOTHING = 1.0
CLEAR_LEVELS = 4.0
CLEAR_SHARE = 0.4
"""How far off the line from before to after a picture may lie, of how far these two are apart."""
STILL_LEVELS = 2.0
STILL_SHARE = 0.1
HIDDEN_S = 0.4
"""From how long a gap on a hand hid the change itself."""
LEAD_S = 0.35
"""How long before the place is in sight again the hand has the item, when taking.

What hides it for longer than a hand is a shopper in front, who may have taken it any time.
"""
HANDLING_S = 0.2
REST_S = 0.6
RUN = 4


@dataclass(frozen=True, slots=True)
class _Change:
    """When a place changed, frame by frame.

    times: (n,) float64 seconds. resting: (n,) bool, where it looked as in the frame before.
    last: the last frame that shows it as before; first: the first that shows it as after.
    """

    times: NDArray[np.float64]
    resting: NDArray[np.bool_]
    last: int
    first: int

    @property
    def hidden(self) -> bool:
        """Whether the place was out of sight while it changed."""
        return bool(self.times[self.first] - self.times[self.last] > HIDDEN_S)


class Recent:
    """Keeps small grey pictures for a while.

    span_s: how far back they go. interval_s: how close they may follow each other.
    """

    def __init__(self, span_s: float, interval_s: float) -> None:
        self._span_s = span_s
        self._interval_s = interval_s
        self._kept: deque[tuple[float, NDArray[np.uint8]]] = deque()

    def add(self, grey: NDArray[np.uint8], time_s: float) -> None:
        """Keep grey, (h, w) uint8, unless the last one is newer than the interval."""
        if self._kept and time_s - self._kept[-1][0] < self._interval_s:
            return
        self._kept.append((time_s, grey))
        while self._kept[0][0] < time_s - self._span_s:
            self._kept.popleft()

    def clear(self) -> None:
        """Forget all pictures."""
        self._kept.clear()

    def left_at(
        self, before: NDArray[np.float32], after: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> float | None:
        """Return when what was there was taken away, or None where no picture tells.

        before, after: (h, w) float32 grey; where: (h, w), the changed pixels.
        """
        change = self._change(before, after, where)
        if change is None:
            return None
        times, last = change.times, change.last
        if change.hidden:
            gap_s = float(times[change.first] - times[last])
            lead_s = min(gap_s, max(LEAD_S, gap_s / 2 - LEAD_S))
            return float(times[change.first]) - lead_s
        still = np.flatnonzero(change.resting[: last + 1])
        if still.size and times[last] - times[still[-1]] < REST_S:
            return float(times[still[-1]])
        return float(times[last] - HANDLING_S)

    def arrived_at(
        self, before: NDArray[np.float32], after: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> float | None:
        """Return when what is there now was put down, or None where no picture tells."""
        change = self._change(before, after, where)
        if change is None:
            return None
        times, first = change.times, change.first
        if change.hidden:
            return float(times[change.last] + times[first]) / 2
        still = first + np.flatnonzero(change.resting[first:])
        if still.size and times[still[0]] - times[first] < REST_S:
            return float(times[still[0]])
        return float(times[first] + HANDLING_S)

    def _change(
        self, before: NDArray[np.float32], after: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> _Change | None:
        """Find the moment that best parts the pictures into those as before and those as after.

        How far a picture has come from before to after is where it lies along the line between
        the two; one that lies far off that line is hidden by a hand and says nothing. A mean
        brightness does not count, so that a shadow over the place does not either.
        """
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        inside = where[cut]
        was, now = _smooth(before[cut])[inside], _smooth(after[cut])[inside]
        line = _centred(now - was)
        length = max(float(line @ line), 1e-6)
        clear = max(CLEAR_LEVELS, CLEAR_SHARE * float(np.sqrt(length / line.size)))
        still = max(STILL_LEVELS, STILL_SHARE * float(np.median(np.abs(now - was))))
        count = len(self._kept)
        as_before, as_after, resting = (np.zeros(count, np.bool_) for _ in range(3))
        seen_before = None
        for index, (_, grey) in enumerate(self._kept):
            seen = _smooth(grey[cut].astype(np.float32))[inside]
            apart = _centred(seen - was)
            come = float(apart @ line) / length
            off = float(np.sqrt(np.mean((apart - come * line) ** 2)))
            as_before[index] = off < clear and come < 0.5
            as_after[index] = off < clear and come >= 0.5
            resting[index] = seen_before is None or bool(
                np.median(np.abs(seen - seen_before)) < still
            )
            seen_before = seen
        start = _last_run(as_before)
        agreeing = np.cumsum(as_before) + as_after.sum() - np.cumsum(as_after)
        parts = start + int(np.argmax(agreeing[start:])) + 1 if count else 0
        earlier = np.flatnonzero(as_before[:parts])
        later = parts + np.flatnonzero(as_after[parts:])
        if not earlier.size or not later.size:
            return None
        times = np.array([time_s for time_s, _ in self._kept])
        return _Change(times, resting, int(earlier[-1]), int(later[0]))


def _last_run(as_before: NDArray[np.bool_]) -> int:
    """Return where the last run of `RUN` frames as before begins: an item may come and go again."""
    run = 0
    for index in range(len(as_before) - 1, -1, -1):
        run = run + 1 if as_before[index] else 0
        if run == RUN:
            return index
    return 0


def _centred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    centred: NDArray[np.float32] = values - values.mean()
    return centred


def _smooth(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), SMOOTHING), np.float32)
