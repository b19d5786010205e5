"""Bring a crop to the size a network takes.

The same on the device, in enrolment and in training, since a table only fits embeddings of crops
that were prepared like its own.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]

PADDING = 114
"""Grey level around a letterboxed crop."""


def fitted(crop: Crop, side: int, fit: str) -> Crop:
    """Bring a crop, (h, w, 3) uint8 BGR, to (side, side, 3).

    fit: `stretch` ignores the aspect ratio, `letterbox` keeps it and pads with grey.
    Raises ValueError for what is no picture.
    """
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8 or 0 in crop.shape:
        raise ValueError(f"a crop is (h, w, 3) uint8 with pixels, not {crop.shape} {crop.dtype}")
    height, width = crop.shape[:2]
    if fit == "stretch":
        return _resized(crop, side, side)
    scale = side / max(height, width)
    inner_h, inner_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - inner_h) // 2, (side - inner_w) // 2
    canvas = np.full((side, side, 3), PADDING, np.uint8)
    canvas[top : top + inner_h, left : left + inner_w] = _resized(crop, inner_h, inner_w)
    return canvas


def _resized(crop: Crop, height: int, width: int) -> Crop:
    shrinks = crop.shape[0] * crop.shape[1] > height * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (width, height), interpolation=method), np.uint8)
