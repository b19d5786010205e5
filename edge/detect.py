"""Find people, hands and products in a picture.

The detector confirms and explains what the shelf saw: how many bottles stand here, whose arm
reaches in. Networks lie in folders and can be exchanged for one another by name; what is in such a
folder, and how it runs, is `models.detection`. Called by the pipeline; pure: array in, detections
out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.detection import LABELS, Detection, DetectorError, Label, OpenVinoDetector, describe

__all__ = [
    "LABELS",
    "SHIPPED",
    "Detection",
    "Detector",
    "DetectorError",
    "Label",
    "OpenVinoDetector",
    "folder_of",
    "load_detector",
]

SHIPPED = Path(__file__).parent / "detectors"
"""Where the networks that come with the package lie, a folder each."""


class Detector(Protocol):
    """Array in, detections out."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find what is in image, (H, W, 3) uint8 BGR, best first."""
        ...


def load_detector(
    name: str, *, threads: int | None = None, min_score: float = 0.3
) -> OpenVinoDetector:
    """Load a detector that ships with the package, or one from a folder.

    name: "yolox_nano", another folder of `edge/detectors`, or a path to a folder that holds
    `detector.json` and the network.
    Raises DetectorError where there is none, or it cannot be read.
    """
    return OpenVinoDetector(describe(folder_of(name)), threads=threads, min_score=min_score)


def folder_of(name: str) -> Path:
    """Return the folder of a detector. Raises DetectorError where there is none."""
    for folder in (SHIPPED / name, Path(name)):
        if (folder / "detector.json").is_file():
            return folder
    known = ", ".join(sorted(path.parent.name for path in SHIPPED.glob("*/detector.json")))
    raise DetectorError(
        f"no detector {name!r}: neither one that ships ({known}) "
        "nor a folder that holds a detector.json"
    )
