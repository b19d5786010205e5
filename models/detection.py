"""A detection network: a folder that describes it, and the object that runs it.

A folder holds an OpenVINO IR, the same network as ONNX where there is one, and a `detector.json`
that says how to read them, so that one network can be exchanged for another. Ground floor: the
device finds things with it (`edge.detect`, which also runs the ONNX form), and what trains
detectors judges them with the very same code. OpenVINO is loaded by who runs it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from models.detection_boxes import (
    Candidates,
    Scale,
    UltralyticsDecoder,
    YoloxDecoder,
    letterbox,
    suppress,
)

if TYPE_CHECKING:
    import openvino as ov

Label = Literal["person", "hand", "product"]
LABELS: tuple[Label, ...] = get_args(Label)


class DetectorError(Exception):
    """A detector that is not there or cannot be read; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Detection:
    """box: x1, y1, x2, y2 in pixels of the picture; score in [0, 1]."""

    box: tuple[float, float, float, float]
    score: float
    label: Label


class Decoder(Protocol):
    """Raw network output in, boxes in pixels of the network's input out."""

    def decode(self, output: NDArray[np.float32], min_score: float) -> Candidates:
        """Keep what scores at least min_score."""
        ...


@dataclass(frozen=True, slots=True)
class Description:
    """What `detector.json` says about a network.

    kind: how its input is prepared and its output read. onnx: None where there is no such form.
    input_size: side of the square input in pixels.
    labels: our word for each of its classes, None for classes that are no concern of ours.
    """

    kind: Literal["yolox", "ultralytics"]
    model: Path
    input_size: int
    labels: tuple[Label | None, ...]
    onnx: Path | None = None


class Reader:
    """Reads what a described network gives back, whichever runtime ran it."""

    def __init__(self, description: Description, min_score: float) -> None:
        self._labels = description.labels
        self._decoder = _decoder(description)
        self._min_score = min_score

    def read(
        self, output: NDArray[np.float32], scale: Scale, shape: tuple[int, ...]
    ) -> list[Detection]:
        """Return what was found, best first.

        output: the network's, of one picture. scale: as `letterbox` gave it. shape: the picture's.
        """
        found = self._decoder.decode(output, self._min_score)
        boxes = scale.to_picture(found.boxes, width=shape[1], height=shape[0])
        numbers = [LABELS.index(label) if label else -1 for label in self._labels]
        words = np.array(numbers)[found.classes]
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        ours = np.flatnonzero((words >= 0) & whole)
        keep = ours[suppress(boxes[ours], found.scores[ours], words[ours])]
        return [
            Detection(
                box=cast(tuple[float, float, float, float], tuple(boxes[i].tolist())),
                score=float(found.scores[i]),
                label=LABELS[words[i]],
            )
            for i in keep
        ]


class OpenVinoDetector:
    """A network on OpenVINO. One picture at a time, or many with several in flight."""

    def __init__(
        self, description: Description, *, threads: int | None = None, min_score: float = 0.3
    ) -> None:
        """Compile the network.

        threads: CPU threads to use, None for OpenVINO's choice.
        Raises DetectorError if the network cannot be read or has another shape than described, or
        OpenVINO is not there.
        """
        try:
            import openvino as ov
        except ImportError as error:
            raise DetectorError(
                f'OpenVINO cannot be loaded ({error}): set [detector] runtime = "onnxruntime"'
            ) from error
        self._ov = ov
        self._description = description
        # As in edge.runtime: every box rounds alike, and like the other runtime.
        self._properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = threads
        self._core = ov.Core()
        self._model = _read(self._core, description)
        self._reader = Reader(description, min_score)
        self._request = self._compile("LATENCY").create_infer_request()
        self._queue: ov.AsyncInferQueue | None = None

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find what is in image, (H, W, 3) uint8 BGR, best first."""
        blob, scale = letterbox(image, self._description.input_size)
        self._request.infer([blob], share_inputs=True)
        return self._reader.read(self._request.get_output_tensor(0).data, scale, image.shape)

    def detect_many(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[list[Detection]]:
        """Find what is in each image, in their order, with as many in flight as the CPU can use.

        Consumes images only a few ahead of what was asked for.
        """
        queue = self._throughput_queue()
        done: dict[int, list[Detection]] = {}
        waiting: deque[int] = deque()

        def collect(request: ov.InferRequest, about: tuple[int, Scale, tuple[int, ...]]) -> None:
            number, scale, shape = about
            done[number] = self._reader.read(request.get_output_tensor(0).data, scale, shape)

        queue.set_callback(collect)
        try:
            for number, image in enumerate(images):
                blob, scale = letterbox(image, self._description.input_size)
                queue.start_async([blob], (number, scale, image.shape))
                waiting.append(number)
                while waiting and waiting[0] in done:
                    yield done.pop(waiting.popleft())
        finally:
            queue.wait_all()
        while waiting:
            yield done.pop(waiting.popleft())

    def _throughput_queue(self) -> ov.AsyncInferQueue:
        if self._queue is None:
            self._queue = self._ov.AsyncInferQueue(self._compile("THROUGHPUT"))
        return self._queue

    def _compile(self, hint: str) -> ov.CompiledModel:
        properties = {"PERFORMANCE_HINT": hint, **self._properties}
        return self._core.compile_model(self._model, "CPU", properties)


def describe(folder: Path) -> Description:
    """Read the `detector.json` of folder.

    It says `kind` ("yolox" or "ultralytics"), `model` and `onnx` (file names, optional),
    `input_size` (pixels), `classes` (the network's names, in its order) and `labels` (name ->
    person, hand or product; classes that are not named there are ignored; without it, names are
    taken as they are).
    Raises DetectorError if something is missing or not understood.
    """
    path = folder / "detector.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kind, size, classes = said["kind"], said["input_size"], list(said["classes"])
        words = said.get("labels") or {name: name for name in classes}
        labels = tuple(words.get(name) for name in classes)
        model = folder / said.get("model", "model.xml")
        onnx = folder / said["onnx"] if said.get("onnx") else None
    except (OSError, ValueError) as error:
        raise DetectorError(f"{path}: cannot be read as JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DetectorError(f"{path}: needs kind, input_size and classes: {error}") from error
    if kind not in ("yolox", "ultralytics"):
        raise DetectorError(f"{path}: kind is {kind!r}; it must be 'yolox' or 'ultralytics'")
    if not isinstance(size, int) or size <= 0 or size % 32:
        raise DetectorError(f"{path}: input_size is {size!r}; it must be a multiple of 32")
    wrong = sorted({str(label) for label in labels} - {"None", *LABELS})
    if wrong:
        raise DetectorError(f"{path}: label {wrong[0]!r}: must be one of {', '.join(LABELS)}")
    for file in (model, onnx):
        if file is not None and not file.is_file():
            raise DetectorError(f"{file}: the network is missing")
    return Description(kind, model, size, labels, onnx)


def check_shapes(
    description: Description, file: Path, taken: Sequence[int], given: Sequence[int]
) -> None:
    """Check what a network takes and gives against its description. Raises DetectorError."""
    size, classes = description.input_size, len(description.labels)
    if list(taken) != [1, 3, size, size]:
        raise DetectorError(f"{file}: takes {list(taken)}, not one 1x3x{size}x{size}")
    wanted = 5 + classes if description.kind == "yolox" else 4 + classes
    if wanted not in list(given)[1:]:
        raise DetectorError(f"{file}: gives {list(given)}, which is not {classes} classes")


def _decoder(description: Description) -> Decoder:
    if description.kind == "yolox":
        return YoloxDecoder(description.input_size)
    return UltralyticsDecoder()


def _read(core: ov.Core, description: Description) -> ov.Model:
    """Read the network and fold the conversion from a uint8 picture into it."""
    import openvino as ov

    try:
        model = core.read_model(description.model)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1].strip()
        raise DetectorError(f"{description.model}: cannot be read as a network: {line}") from error
    shapes = [list(each.get_partial_shape().to_shape()) for each in model.inputs]
    taken_shape = shapes[0] if len(shapes) == 1 else []
    given = list(model.output(0).get_partial_shape().to_shape())
    check_shapes(description, description.model, taken_shape, given)
    steps = ov.preprocess.PrePostProcessor(model)
    taken = steps.input()
    taken.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    taken.model().set_layout(ov.Layout("NCHW"))
    taken.preprocess().convert_element_type(ov.Type.f32)
    if description.kind == "ultralytics":
        taken.tensor().set_color_format(ov.preprocess.ColorFormat.BGR)
        taken.preprocess().convert_color(ov.preprocess.ColorFormat.RGB).scale(255.0)
    return steps.build()
