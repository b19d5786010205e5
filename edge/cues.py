"""What can be measured of a changed place in two pictures of it, before and after.

Each says how much speaks for one of the two holding the item; none needs to know what an item is.
Pure.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def edge_strengths(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> tuple[float, float]:
    """Return how strong the edges along a region's outline are in each picture, in grey levels."""
    width = max(2, round(min(mask.shape) / 30))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    filled = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    band = (cv2.dilate(filled, kernel) > 0) & (cv2.erode(filled, kernel) == 0)
    if not band.any():
        return 0.0, 0.0
    strength = []
    for picture in (before, after):
        smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.25)
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.25)
        strength.append(float(cv2.magnitude(dx, dy).max(axis=2)[band].mean()))
    return strength[0], strength[1]


def texture_evidence(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> float:
    """Return by how much finer and crisper the inside is before than after, as a log ratio.

    Of two like items the one in front shows its print larger and better lit.
    """
    strength = []
    for picture in (before, after):
        grey = cv2.GaussianBlur(_grey(picture), (0, 0), 1.0)
        fine = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
        strength.append(float(fine[mask > 0].mean()) + 0.2)
    return float(np.log(strength[0] / strength[1]))


def _ring(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return what surrounds a region, as far as a twelfth of the picture's smaller side."""
    width = max(3, round(min(mask.shape) / 12))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray((cv2.dilate(mask, kernel) > 0) & (mask == 0))


def _grey(picture: Picture) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)


def colour_evidence(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> float:
    """Return in which picture the inside is less like its surroundings: 1 before, -1 after."""
    inside, ring = mask > 0, _ring(mask)
    if inside.sum() < 20 or ring.sum() < 20:
        return 0.0
    unlike = []
    for picture in (before, after):
        lab = cv2.cvtColor(cv2.GaussianBlur(picture, (0, 0), 1.0), cv2.COLOR_BGR2Lab)
        histograms = [
            cv2.calcHist([lab], [0, 1, 2], where.astype(np.uint8), [12, 12, 12], [0, 256] * 3)
            for where in (inside, ring)
        ]
        smooth = [
            np.asarray(histogram / max(float(histogram.sum()), 1.0), np.float32)
            for histogram in histograms
        ]
        unlike.append(float(cv2.compareHist(smooth[0], smooth[1], cv2.HISTCMP_BHATTACHARYYA)))
    return (unlike[0] - unlike[1]) / (unlike[0] + unlike[1] + 1e-6)
