"""Move a picture by a fraction of a pixel or a few pixels. Pure."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

NONE_PX = 0.02
SHORT_PX = 2.0


def translate(image: NDArray[Any], x: float, y: float) -> NDArray[Any]:
    """Return image, (h, w[, 3]), moved by x, y pixels; uncovered borders repeat the edge.

    Linear in between. A translation is the same at every pixel, so where it is short two short
    kernels do it in half of a warp's time. Under NONE_PX the image itself is returned.
    """
    if abs(x) < NONE_PX and abs(y) < NONE_PX:
        return image
    if max(abs(x), abs(y)) <= SHORT_PX:
        kernels = (_kernel(x), _kernel(y))
        return cv2.sepFilter2D(image, -1, *kernels, borderType=cv2.BORDER_REPLICATE)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def _kernel(shift: float) -> NDArray[np.float32]:
    """Return the kernel that moves a row by `shift` pixels."""
    reach = math.floor(abs(shift)) + 1
    offsets = np.arange(-reach, reach + 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(offsets + shift)), np.float32)
