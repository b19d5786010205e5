"""Small pictures of products, to be shown beside others that look like them.

A bundle keeps one of each product that was enrolled. Used by enrolment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bundle import FACES, Bundle
from models.pictures import read_picture

_FACE_SIDE = 192
_BESIDE_SIDE = 320


class Faces:
    """Small pictures of products: those the bundle carries, those at hand, and the new ones."""

    def __init__(self, bundle: Bundle, known: Mapping[str, Sequence[Path]]) -> None:
        """Take a bundle, and pictures at hand of what it knows."""
        self._bundle = bundle
        self._known = known
        self.files: dict[str, bytes] = {}

    def add(self, sku: str, picture: NDArray[np.uint8]) -> None:
        """Keep a small copy of a product's picture."""
        self.files[f"{FACES}/{sku}.jpg"] = _jpeg(_within(picture, _FACE_SIDE))

    def beside(self, picture: NDArray[np.uint8], other: str | None) -> bytes:
        """Return a JPEG of a picture beside the other product's; empty where there is none."""
        found = self._of(other) if other is not None else None
        if found is None:
            return b""
        pair = [_padded(_within(p, _BESIDE_SIDE), _BESIDE_SIDE) for p in (picture, found)]
        return _jpeg(np.hstack(pair))

    def _of(self, sku: str) -> NDArray[np.uint8] | None:
        inside = self._bundle.path / FACES / f"{sku}.jpg"
        if f"{FACES}/{sku}.jpg" in self.files:
            encoded = np.frombuffer(self.files[f"{FACES}/{sku}.jpg"], np.uint8)
            return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
        for path in [inside, *self._known.get(sku, ())]:
            if path.is_file():
                return read_picture(path)
        return None


def _within(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / max(picture.shape[:2])
    size = [max(1, round(length * scale)) for length in picture.shape[1::-1]]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _padded(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    whole = np.full((side, side, 3), 255, np.uint8)
    top, left = ((side - length) // 2 for length in picture.shape[:2])
    whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
