"""Read a shop's own packshot and free the package from its plain ground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.scene import Image, Point, point
from edge.simulate.settings import SimulationError

Mask = NDArray[np.bool_]

LONGEST_PX = 320
TALLEST_M, WIDEST_M = 0.21, 0.15
CLOSE, FAR = 6, 28
NEARLY_CONVEX = 0.75
PALE, PALE_SHARE = 222, 0.12


@dataclass(frozen=True, slots=True)
class Cutout:
    """A package without its ground: (h, w, 4) uint8 premultiplied; measures (3,) in metres."""

    layer: Image
    measures: Point


@lru_cache(maxsize=4096)
def pictured(path: Path) -> Cutout:
    """Read a packshot; what touches the border in the border's light colour is ground.

    A picture that fills its frame is kept whole. Raises SimulationError where it is no picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SimulationError(f"{path}: cannot be read as a picture")
    scale = LONGEST_PX / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * scale), 8), max(round(picture.shape[0] * scale), 8))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    inside = _inside(small)
    rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    soft = cv2.GaussianBlur(inside.astype(np.uint8) * 255, (3, 3), 0)[cut]
    colour = small[cut] * (soft[:, :, None] / 255.0)
    layer = np.dstack([colour, soft]).astype(np.uint8)
    height, width = layer.shape[:2]
    metres = min(TALLEST_M / height, WIDEST_M / width)
    return Cutout(layer, point(width * metres, height * metres, 0.062))


def _inside(picture: Image) -> Mask:
    height, width = picture.shape[:2]
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    if np.median(border.min(axis=1)) < 215:
        return np.ones((height, width), dtype=bool)
    inside = _grounded(picture, CLOSE)
    if inside.mean() < 0.05:
        return np.ones((height, width), dtype=bool)
    pale = float((picture[inside].min(axis=1) > PALE).mean())
    return _whole(inside) if pale > PALE_SHARE else _grounded(picture, FAR)


def _grounded(picture: Image, tolerance: int) -> Mask:
    """True where a picture is not joined to its border by colours within tolerance of white."""
    framed = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    mask = np.zeros((framed.shape[0] + 2, framed.shape[1] + 2), dtype=np.uint8)
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (255 << 8)
    cv2.floodFill(framed, mask, (0, 0), (0, 0, 0), (tolerance,) * 3, (tolerance,) * 3, flags)
    return np.asarray(mask[2:-2, 2:-2] == 0)


def _whole(inside: Mask) -> Mask:
    """Close what a white package lost to the white ground: a nearly convex thing is its hull."""
    solid = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return inside
    hull = cv2.convexHull(np.concatenate([line for line in outlines if len(line) > 8] or outlines))
    whole = np.zeros(inside.shape, dtype=np.uint8)
    cv2.fillPoly(whole, [hull], 1)
    if inside.sum() < NEARLY_CONVEX * whole.sum():
        return inside
    return np.asarray(whole > 0)
