"""Find people, hands and products in a picture.

The detector confirms and explains what the shelf saw: how many bottles stand here, whose arm
reaches in. Networks lie in folders and can be exchanged for one another by name; what is in such a
folder, and how it runs, is `models.detection`. Called by the pipeline; pure: array in, detections
out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.runtime import RUNTIMES, OnnxNetwork
from models.detection import (
    LABELS,
    Description,
    Detection,
    DetectorError,
    Label,
    OpenVinoDetector,
    Reader,
    check_shapes,
    describe,
)
from models.detection_boxes import Scale, letterbox

__all__ = [
    "BOX_TOLERANCE",
    "LABELS",
    "SCORE_TOLERANCE",
    "SHIPPED",
    "Detection",
    "Detector",
    "DetectorError",
    "Label",
    "OnnxDetector",
    "OpenVinoDetector",
    "folder_of",
    "load_detector",
]

SCORE_TOLERANCE = 1e-3
"""Greatest difference between the runtimes in the score of a detection."""

BOX_TOLERANCE = 0.05
"""Greatest difference between the runtimes in an edge of a box, in pixels of the network's input;
scale it by the picture's longer side over the network's."""

SHIPPED = Path(__file__).parent / "detectors"
"""Where the networks that come with the package lie, a folder each."""


class Detector(Protocol):
    """Array in, detections out."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find what is in image, (H, W, 3) uint8 BGR, best first."""
        ...


class OnnxDetector:
    """A network on ONNX Runtime, for boxes that OpenVINO does not support."""

    def __init__(
        self, description: Description, *, threads: int | None = None, min_score: float = 0.3
    ) -> None:
        """Read the network.

        threads: CPU threads to use, None for the runtime's choice.
        Raises DetectorError if there is no ONNX form of it, or it has another shape than described,
        RuntimeUnavailable if it cannot be read or the runtime is not there.
        """
        if description.onnx is None:
            raise DetectorError(
                f"{description.model.parent}: has no ONNX form ('onnx' in detector.json): "
                'set [detector] runtime = "openvino"'
            )
        self._description = description
        self._network = OnnxNetwork(description.onnx, threads=threads)
        taken, given = self._network.shapes
        check_shapes(description, description.onnx, taken, given)
        self._reader = Reader(description, min_score)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find what is in image, (H, W, 3) uint8 BGR, best first."""
        blob, scale = letterbox(image, self._description.input_size)
        return self._reader.read(self._network.infer(self._prepared(blob)), scale, image.shape)

    def detect_many(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[list[Detection]]:
        """Find what is in each image, in their order, a few in flight."""
        under_way: deque[tuple[Scale, tuple[int, ...]]] = deque()

        def blobs() -> Iterator[NDArray[np.float32]]:
            for image in images:
                blob, scale = letterbox(image, self._description.input_size)
                under_way.append((scale, image.shape))
                yield self._prepared(blob)

        for output in self._network.infer_many(blobs()):
            yield self._reader.read(output, *under_way.popleft())

    def _prepared(self, blob: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn (1, S, S, 3) uint8 BGR into what the network takes, (1, 3, S, S) float32."""
        if self._description.kind == "ultralytics":
            blob = blob[..., ::-1]
        planes = np.ascontiguousarray(blob.transpose(0, 3, 1, 2), np.float32)
        return planes / np.float32(255) if self._description.kind == "ultralytics" else planes


def load_detector(
    name: str, *, threads: int | None = None, min_score: float = 0.3, runtime: str = "openvino"
) -> OpenVinoDetector | OnnxDetector:
    """Load a detector that ships with the package, or one from a folder.

    name: "yolox_nano", another folder of `edge/detectors`, or a path to a folder that holds
    `detector.json` and the network. runtime: `openvino` or `onnxruntime`; both give the same
    detections within `SCORE_TOLERANCE` and `BOX_TOLERANCE`.
    Raises DetectorError where there is none, or it cannot be read, RuntimeUnavailable where ONNX
    Runtime is missing or cannot read it.
    """
    description = describe(folder_of(name))
    if runtime == "openvino":
        return OpenVinoDetector(description, threads=threads, min_score=min_score)
    if runtime == "onnxruntime":
        return OnnxDetector(description, threads=threads, min_score=min_score)
    raise DetectorError(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")


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
