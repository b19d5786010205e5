"""Find people, hands and products in a picture (contract; the detector's owner completes this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Label = Literal["person", "hand", "product"]


@dataclass(frozen=True, slots=True)
class Detection:
    """box: x1, y1, x2, y2 in pixels of the picture; score in [0, 1]."""

    box: tuple[float, float, float, float]
    score: float
    label: Label


class Detector(Protocol):
    """Array in, detections out."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find what is in image, (H, W, 3) uint8 BGR, best first."""
        ...
