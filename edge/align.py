"""Line a picture up with a reference: a shaken camera and a changed exposure are no events.

Pure functions over small grey pictures. The shift is what most corners of the reference agree on
when pyramidal Lucas-Kanade (Bouguet, 2001) finds them again, so foreground does not disturb it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.planes import Planes, middle

Grey = NDArray[Any]
CORNERS = 120
AGREE_PX = 0.7
FEWEST = 8
DRIFT_PX = 1.5
SKIPPED = 2
OUTLIER = 40.0
PLAIN = 2000.0
SPARSE = 4
FEWEST_LIT = 100


class Aligner:
    """Estimates how far pictures have moved against one reference."""

    def __init__(self, reference: NDArray[np.uint8]) -> None:
        """Prepare a reference, (h, w) uint8 grey."""
        self._reference = reference
        margin = max(4, reference.shape[1] // 48)
        inner = np.zeros_like(reference)
        inner[margin:-margin, margin:-margin] = 255
        self._corners = cv2.goodFeaturesToTrack(reference, CORNERS, 0.01, 7, mask=inner)

    def shift(self, grey: NDArray[np.uint8], most: float) -> tuple[float, float]:
        """Return (x, y), the pixels by which grey has moved against the reference.

        grey: (h, w) uint8, of the reference's size. (0, 0) where the shift would exceed `most`
        pixels or too few corners agree on one.
        """
        if self._corners is None or len(self._corners) < FEWEST:
            return 0.0, 0.0
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            self._reference, grey, self._corners, np.empty(0), winSize=(15, 15), maxLevel=2
        )
        flow = (found - self._corners)[status.ravel() == 1].reshape(-1, 2)
        if len(flow) < FEWEST:
            return 0.0, 0.0
        # By axis: a maximum over the last axis of two costs as much as the whole rest.
        near_x, near_y = (np.abs(along[:, None] - along) < AGREE_PX for along in flow.T)
        near = near_x & near_y
        agreeing = near[near.sum(axis=1).argmax()]
        if agreeing.sum() < max(FEWEST, 0.25 * len(flow)):
            return 0.0, 0.0
        x, y = (float(value) for value in np.median(flow[agreeing], axis=0))
        return (x, y) if max(abs(x), abs(y)) <= most else (0.0, 0.0)


def drift(reference: Grey, image: Grey, use: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (x, y), the fraction of a pixel by which image has moved against reference.

    reference: (h, w) float32 grey. image: in the same light, of every SKIPPED-th row and column
    alone. use: of image's size, the pixels to compare. Two steps of Gauss-Newton (Lucas & Kanade,
    1981), the second without what does not fit the first. (0, 0) where the picture is too plain to
    tell, or more than DRIFT_PX would have to be believed.
    """
    step = slice(None, None, SKIPPED)
    across = cv2.Sobel(reference, cv2.CV_32F, 1, 0, scale=1 / 8)[step, step]
    down = cv2.Sobel(reference, cv2.CV_32F, 0, 1, scale=1 / 8)[step, step]
    apart = image - reference[step, step]
    chosen = np.flatnonzero(use & (np.abs(apart) < OUTLIER))
    slopes = np.stack([across.ravel()[chosen], down.ravel()[chosen]])
    left = apart.ravel()[chosen]
    kept = np.ones(len(chosen), np.float32)
    x = y = 0.0
    for _ in range(2):
        weighed = slopes * kept
        squares = weighed @ slopes.T
        if np.linalg.det(squares) < PLAIN * max(1.0, float(np.trace(squares))):
            return 0.0, 0.0
        x, y = (float(value) for value in -np.linalg.solve(squares, weighed @ left))
        off = np.abs(left + x * slopes[0] + y * slopes[1])
        kept = (off < max(2.0, 3.0 * middle(off[::SPARSE]))).astype(np.float32)
    return (x, y) if max(abs(x), abs(y)) <= DRIFT_PX else (0.0, 0.0)


def gain(reference: Planes, image: Planes, use: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (3,) float32, the factor by which image is brighter than reference, per channel.

    reference, image: planes, (h, w) each. use: (h, w), the pixels to compare. 1 where fewer than
    100 pixels can be compared. The factor is held between 0.25 and 4.
    """
    chosen = np.flatnonzero(use)
    if len(chosen) < FEWEST_LIT:
        return np.ones(3, np.float32)
    factors = [
        middle((after.ravel()[chosen] + 1.0) / (before.ravel()[chosen] + 1.0))
        for before, after in zip(reference, image, strict=True)
    ]
    return np.clip(factors, 0.25, 4.0).astype(np.float32)
