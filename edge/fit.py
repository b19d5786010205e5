"""How one picture of a place is laid over another: the same thing, and how much farther away.

Pure. What stands behind its like on a shelf is seen a little smaller, and its foot a little higher.
Its width is no measure, for neighbours cover its sides. Found to a hundredth: the best places of a
template at several sizes, each refined by the affine map that maximises the correlation
(Evangelidis & Psarakis, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Pixels = NDArray[np.float32]
Box = tuple[int, int, int, int]
SIDE = 96.0
SIDES, FOOT = 0.08, 0.12
SMALLEST = 12
SCALES = (1.0, 0.93, 0.87, 0.81, 1.07, 1.15, 1.23)
STARTS = 2
MOST_SCALED = 1.35
MOST_SHEARED = 0.3
PLAIN = 1.0
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the picture after can be laid over the one before.

    score: correlation in [0, 1] where they fit best, whatever the light; 0 where they do not.
    growth: log ratio of heights, after over before.
    rise: by how much the foot of what was laid over is higher after, in heights of it.
    """

    score: float = 0.0
    growth: float = 0.0
    rise: float = 0.0


def fitted(before: Picture, after: Picture, inner: Box) -> Fit:
    """Fit two pictures of a place, each way round; return the better fit.

    before, after: (h, w, 3) uint8 BGR of the same place with surroundings. inner: x1, y1, x2, y2 of
    the place within them.
    """
    box = _core(inner)
    zoom = SIDE / max(box[2] - box[0], box[3] - box[1], 1)
    first, second = (_prepared(picture, zoom) for picture in (before, after))
    x1, y1, x2, y2 = (round(side * zoom) for side in box)
    box = (x1, y1, x2, y2)
    there, back = _fit(first, second, box), _fit(second, first, box)
    return there if there.score >= back.score else Fit(back.score, -back.growth, -back.rise)


def _core(inner: Box) -> Box:
    """Return a place without its sides and its foot.

    Neighbours and the board's edge with its labels stand there, which do not move and pin a fit.
    """
    x1, y1, x2, y2 = inner
    side, foot = round(SIDES * (x2 - x1)), round(FOOT * (y2 - y1))
    return x1 + side, y1, x2 - side, y2 - foot


def _prepared(picture: Picture, zoom: float) -> Pixels:
    small = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float32)


def _fit(first: Pixels, second: Pixels, box: Box) -> Fit:
    """Fit what is in the box of the first into the second.

    Placed and scored in colour: rings and stripes, slid on by one, look alike without.
    """
    x1, y1, x2, y2 = box
    patch = first[y1:y2, x1:x2]
    grey, other = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in (patch, second))
    best = Fit()
    if min(grey.shape) < SMALLEST or float(grey.std()) < PLAIN:
        return best
    for begin in _starts(patch, second):
        try:
            _, ended = cv2.findTransformECC(
                grey, other, begin, cv2.MOTION_AFFINE, STOP, np.empty(0, np.uint8), 3
            )
        except cv2.error:
            continue  # it came to nothing from here: the two are too unlike
        found = np.asarray(ended, np.float32)
        score = _alike(patch, second, found)
        if score > best.score and _believed(found):
            foot = float((found @ np.array([(x2 - x1) / 2, y2 - y1, 1.0]))[1])
            best = Fit(score, float(np.log(found[1, 1])), (y2 - foot) / (y2 - y1))
    return best


def _starts(patch: Pixels, picture: Pixels) -> list[Pixels]:
    """Return the affine maps, (2, 3), at which a patch scaled and moved fits a picture best."""
    starts = []
    for scale in SCALES:
        scaled = cv2.resize(patch, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if scaled.shape[0] > picture.shape[0] or scaled.shape[1] > picture.shape[1]:
            continue
        alike = cv2.matchTemplate(picture, scaled, cv2.TM_CCOEFF_NORMED)
        _, most, _, (left, top) = cv2.minMaxLoc(alike)
        starts.append((most, np.array([[scale, 0, left], [0, scale, top]], np.float32)))
    starts.sort(key=lambda start: -start[0])
    return [begin for _, begin in starts[:STARTS]]


def _alike(patch: Pixels, picture: Pixels, found: Pixels) -> float:
    """Return the correlation, in colour, of a patch with where a map lays it in a picture."""
    laid = cv2.warpAffine(
        picture,
        found,
        (patch.shape[1], patch.shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return float(cv2.matchTemplate(laid, patch, cv2.TM_CCOEFF_NORMED)[0, 0])


def _believed(found: Pixels) -> bool:
    """Whether a map can be that of an item farther back: hardly turned, and of about one size."""
    scaled = all(1 / MOST_SCALED < found[i, i] < MOST_SCALED for i in (0, 1))
    return scaled and all(abs(found[i, 1 - i]) < MOST_SHEARED for i in (0, 1))
