"""Pictures as three planes, for the arithmetic of every check.

A plane of a small picture fits into a core's cache and its rows into vector registers; three
channels side by side do neither, and the same sums on them take three times as long. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Planes = tuple[Plane, Plane, Plane]
RESIZED = 11 / 12
"""Variance, in square pixels, that halving by area and doubling linearly add."""


def each(work: Callable[..., Any], *several: Planes) -> Planes:
    """Return what work makes of the first planes, of the second and of the third."""
    first, second, third = (work(*planes) for planes in zip(*several, strict=True))
    return first, second, third


def mask_of(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (h, w) uint8, 255 where `where`, (h, w), is true."""
    return where.view(np.uint8) * np.uint8(255)


def planes_of(picture: NDArray[Any]) -> Planes:
    """Return picture, (h, w, 3) of any number type, as planes, (h, w) float32 each."""
    first, second, third = (plane.astype(np.float32) for plane in cv2.split(picture))
    return first, second, third


def picture_of(planes: Planes) -> NDArray[np.float32]:
    """Return planes as one picture, (h, w, 3) float32."""
    return np.asarray(cv2.merge(planes), np.float32)


def grey_of(planes: Planes) -> Plane:
    """Return the grey picture of planes in BGR order, (h, w) float32."""
    blue, green, red = planes
    grey = blue * np.float32(0.114)
    grey += green * np.float32(0.587)
    grey += red * np.float32(0.299)
    return grey


def extremes(planes: Planes) -> tuple[Plane, Plane]:
    """Return the least and the greatest of each pixel's three values, (h, w) float32 each."""
    first, second, third = planes
    least = cv2.min(first, second)
    cv2.min(least, third, least)
    greatest = cv2.max(first, second)
    cv2.max(greatest, third, greatest)
    return np.asarray(least, np.float32), np.asarray(greatest, np.float32)


def level_counts(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (256,), how often each grey level is in levels, (h, w), fewer than 16 million."""
    counts = cv2.calcHist([levels], [0], None, [256], [0, 256])
    return np.asarray(counts, np.float32).ravel().astype(np.int64)


def median_level(counts: NDArray[np.int64]) -> float:
    """Return the median of grey levels from how often each is there; that is quicker than sorting.

    counts: (256,), as `level_counts` gives them.
    """
    upto = np.cumsum(counts)
    middle = [(upto[-1] - 1) // 2, upto[-1] // 2]
    return float(np.searchsorted(upto, middle, side="right").mean())


def middle(values: NDArray[np.floating[Any]]) -> float:
    """Return the upper median of values, (n,), n > 0; numpy's own looks at them several times."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])


def smoothed(plane: Plane, sigma: float) -> Plane:
    """Return plane, (h, w), blurred by a Gaussian of `sigma` pixels, 3 or more, at half its size.

    What is that soft has nothing finer, and the kernel is half as long over a quarter of the
    pixels. Shrinking and enlarging blur a little themselves, which sigma allows for; the mirrored
    margin is made before, or the borders would be off by several levels.
    """
    height, width = plane.shape
    margin = round(3 * sigma) & ~1
    wide = cv2.copyMakeBorder(
        plane, margin, margin + height % 2, margin, margin + width % 2, cv2.BORDER_REFLECT_101
    )
    size = (wide.shape[1] // 2, wide.shape[0] // 2)
    small = cv2.resize(wide, size, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), math.sqrt(sigma * sigma - RESIZED) / 2)
    whole = cv2.resize(soft, (wide.shape[1], wide.shape[0]))
    inside = whole[margin : margin + height, margin : margin + width]
    return np.asarray(inside, np.float32)
