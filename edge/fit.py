"""How one picture of a place is laid over another: the same thing, and how much farther away.

Pure. What stands behind its like on a shelf is seen a little smaller. Its width is no measure, for
neighbours cover its sides; its height is, and is found to a hundredth by fitting one picture to
the other by an affine map that maximises their correlation (Evangelidis & Psarakis, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
SIDE = 96.0
SMALLEST = 12
STARTS = (1.0, 0.95, 1.05)
MOST_SCALED = 1.25
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the picture after can be laid over the one before.

    score: correlation in [0, 1] where they fit best, whatever the light; 0 where they do not.
    growth: log ratio of heights, after over before.
    """

    score: float = 0.0
    growth: float = 0.0


def fitted(before: Picture, after: Picture, inner: tuple[int, int, int, int]) -> Fit:
    """Fit two pictures of a place, each way round; return the better fit.

    before, after: (h, w, 3) uint8 BGR of the same place with surroundings. inner: x1, y1, x2, y2 of
    the place within them.
    """
    x1, y1, x2, y2 = inner
    zoom = SIDE / max(x2 - x1, y2 - y1, 1)
    first, second = (_prepared(picture, zoom) for picture in (before, after))
    box = (round(x1 * zoom), round(y1 * zoom), round(x2 * zoom), round(y2 * zoom))
    there, back = _fit(first, second, box), _fit(second, first, box)
    return there if there.score >= back.score else Fit(back.score, -back.growth)


def _prepared(picture: Picture, zoom: float) -> NDArray[np.float32]:
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float32)


def _fit(
    first: NDArray[np.float32], second: NDArray[np.float32], box: tuple[int, int, int, int]
) -> Fit:
    """Fit what is in the box of the first into the second, as it stands on the box's floor."""
    x1, y1, x2, y2 = box
    patch = first[y1:y2, x1:x2]
    best = Fit()
    if min(patch.shape) < SMALLEST:
        return best
    for start in STARTS:
        left, top = (x1 + x2) / 2 - start * (x2 - x1) / 2, y2 - start * (y2 - y1)
        begin = np.array([[start, 0, left], [0, start, top]], np.float32)
        try:
            score, found = cv2.findTransformECC(
                patch, second, begin, cv2.MOTION_AFFINE, STOP, np.empty(0, np.uint8), 3
            )
        except cv2.error:
            continue  # it came to nothing from here: the two are too unlike
        scales = (float(found[0, 0]), float(found[1, 1]))
        believed = all(1 / MOST_SCALED < scale < MOST_SCALED for scale in scales)
        if believed and score > best.score:
            best = Fit(float(score), float(np.log(scales[1])))
    return best
