"""The last seconds of a camera as small grey pictures: when did an item leave or arrive? Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

ALIKE = 0.4
RESTING = 0.1
SMOOTHING = 2.5


@dataclass(frozen=True, slots=True)
class _Share:
    """How like before and after a place looked, in [-1, 1], and whether it was at rest."""

    time_s: float
    before: float
    after: float
    resting: bool


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

    def since(self, time_s: float) -> list[tuple[float, NDArray[np.uint8]]]:
        """Return the pictures taken at or after time_s, oldest first."""
        return [entry for entry in self._kept if entry[0] >= time_s]

    def left_at(
        self, before: NDArray[np.float32], after: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> float | None:
        """Return when most of the place last looked as before, or None if it never did.

        before, after: (h, w) float32 grey; where: (h, w), the changed pixels.
        """
        shares = self._shares(before, after, where)
        most = max((share.before for share in shares), default=0.0)
        as_before = [share.before > max(share.after, ALIKE * most) for share in shares]
        if not any(as_before):
            return None
        last = len(as_before) - 1 - as_before[::-1].index(True)
        resting = [share.time_s for share in shares[: last + 1] if share.resting]
        return resting[-1] if resting else shares[last].time_s

    def arrived_at(
        self, before: NDArray[np.float32], after: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> float | None:
        """Return since when most of the place has looked as after, or None if it never did."""
        shares = self._shares(before, after, where)
        most = max((share.after for share in shares), default=0.0)
        as_after = [share.after > max(share.before, ALIKE * most) for share in shares]
        if not shares or not as_after[-1]:
            return None
        first = len(as_after) - (
            as_after[::-1].index(False) if False in as_after else len(as_after)
        )
        resting = [share.time_s for share in shares[first:] if share.resting]
        return resting[0] if resting else shares[first].time_s

    def _shares(
        self, before: NDArray[np.float32], after: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> list[_Share]:
        """Correlate the place in every kept picture with before and after, oldest first.

        Correlation does not mind a shadow over the place or another exposure; smoothed first, so
        that an item that is only nudged still looks as before.
        """
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        inside = where[cut]
        was, now = _smooth(before[cut])[inside], _smooth(after[cut])[inside]
        still = max(2.0, RESTING * float(np.median(np.abs(was - now))))
        was, now = _standard(was), _standard(now)
        shares = []
        last = None
        for time_s, grey in self._kept:
            seen = _smooth(grey[cut].astype(np.float32))[inside]
            resting = last is None or float(np.median(np.abs(seen - last))) < still
            last = seen
            seen = _standard(seen)
            shares.append(_Share(time_s, float(was @ seen), float(now @ seen), resting))
        return shares


def _standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values without their mean, at length 1."""
    centred = values - values.mean()
    unit: NDArray[np.float32] = centred / max(float(np.linalg.norm(centred)), 1e-6)
    return unit


def _smooth(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), SMOOTHING), np.float32)
