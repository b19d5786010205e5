"""The networks that label real pictures for ours: YOLOX-Nano, and the palm detector for hands.

What they say is no truth but a good guess (pseudo labels). Where it can be checked against
something else, namely that a hand moves and an empty table does not, the material does so.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.detection import OpenVinoDetector, describe
from models.detector_labels import Labelled, MaterialError, Picture

SIDE = 192
ANCHORS_BY_CELL = ((24, 2), (12, 6))


class PalmTeacher:
    """MediaPipe's palm detector: where hands are, as boxes about the whole hand."""

    def __init__(self, network: Path, *, threads: int = 1) -> None:
        """Load the network, a tflite. Raises MaterialError if it is not there."""
        if not network.is_file():
            raise MaterialError(f"{network}: the palm detector is missing")
        model = ov.Core().compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": threads})
        self._request = model.create_infer_request()
        self._boxes, self._logits = sorted(model.outputs, key=lambda out: -out.get_shape()[-1])
        self._anchors = _anchors()

    def hands(self, picture: Picture, min_score: float = 0.6) -> list[tuple[Labelled, Labelled]]:
        """Return (hand, palm) pairs of boxes, in pixels of picture, surest first."""
        side = max(picture.shape[:2])
        square = np.zeros((side, side, 3), np.uint8)
        square[: picture.shape[0], : picture.shape[1]] = picture
        small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None].astype(np.float32) / 255
        self._request.infer([rgb])
        rows = self._request.get_tensor(self._boxes).data[0]
        logits = self._request.get_tensor(self._logits).data[0, :, 0]
        likely = np.flatnonzero(logits > np.log(min_score / (1 - min_score)))
        taken: list[tuple[NDArray[np.float32], float]] = []
        found = []
        for i in likely[np.argsort(-logits[likely])]:
            centre, size = rows[i, :2] + self._anchors[i], float(rows[i, 2:4].max())
            if any(np.hypot(*(centre - other)) < reach / 2 for other, reach in taken):
                continue
            taken.append((centre, size))
            points = rows[i, 4:].reshape(7, 2) + self._anchors[i]
            found.append(_hand_and_palm(centre, size, points, side / SIDE))
        return found


def _anchors() -> NDArray[np.float32]:
    """Return the centres, (2016, 2), in pixels of the network's input."""
    centres = []
    for cells, times in ANCHORS_BY_CELL:
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        grid = (np.stack([columns, rows], axis=1) + 0.5) * (SIDE / cells)
        centres.append(np.repeat(grid, times, axis=0))
    return np.concatenate(centres).astype(np.float32)


def _hand_and_palm(
    centre: NDArray[np.float32], size: float, points: NDArray[np.float32], scale: float
) -> tuple[Labelled, Labelled]:
    """Widen a palm to the hand: the fingers lie from the wrist (point 0) over the knuckles (2)."""
    along = points[2] - points[0]
    along = along / max(float(np.hypot(*along)), 1e-6)
    hand, half = (centre + 0.35 * size * along) * scale, 0.8 * size * scale
    palm, palm_half = centre * scale, 0.5 * size * scale
    return (
        Labelled("hand", (hand[0] - half, hand[1] - half, hand[0] + half, hand[1] + half)),
        Labelled(
            "hand",
            (palm[0] - palm_half, palm[1] - palm_half, palm[0] + palm_half, palm[1] + palm_half),
        ),
    )


class GoodsAndPeopleTeacher:
    """YOLOX-Nano: people and bottles."""

    def __init__(self, folder: Path, *, threads: int = 1, min_score: float = 0.4) -> None:
        """Load it from a detector's folder. Raises DetectorError."""
        self._network = OpenVinoDetector(describe(folder), threads=threads, min_score=min_score)

    def boxes(self, picture: Picture) -> list[Labelled]:
        """Return what it sees in picture, surest first."""
        return [Labelled(each.label, each.box) for each in self._network.detect(picture)]
