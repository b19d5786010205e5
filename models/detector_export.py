"""Turn trained weights into what the device runs: OpenVINO IRs, in 16 bit floats and in INT8."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.detection import Description, describe
from models.detection_boxes import letterbox
from models.detector_labels import CLASSES, MaterialError, read

CALIBRATION = 200
"""Pictures that INT8's ranges are taken from."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The folders written, each a detector of its own."""

    fp16: Path
    int8: Path | None


def export(weights: Path, out: Path, *, size: int = 320, pictures: Path | None = None) -> Exported:
    """Write out/fp16 and, where pictures to calibrate with are given, out/int8.

    weights: what training left. pictures: a set of the material.
    Raises MaterialError if weights is not there, or holds none.
    """
    from ultralytics.models import YOLO

    if not weights.is_file():
        raise MaterialError(f"{weights}: missing; `shelfgate detector train` makes it")
    fp16 = out / "fp16"
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copy(weights, Path(scratch) / "detector.pt"))
        try:
            trained = YOLO(copy)
        except Exception as error:  # anything, where a file is no checkpoint
            raise MaterialError(f"{weights}: no weights that ultralytics can read") from error
        made = Path(trained.export(format="openvino", imgsz=size, device="cpu", verbose=False))
        model = ov.Core().read_model(next(made.glob("*.xml")))
        _save(model, fp16, {"kind": "ultralytics", "input_size": size, "classes": list(CLASSES)})
    if pictures is None:
        return Exported(fp16, None)
    return Exported(fp16, quantise(fp16, pictures, out / "int8"))


def quantise(detector: Path, pictures: Path, out: Path) -> Path:
    """Write detector's network in INT8, its ranges taken from pictures; return out.

    What turns the network's numbers into boxes stays in floats.
    Raises DetectorError or MaterialError.
    """
    import nncf

    described = describe(detector)
    model = ov.Core().read_model(described.model)
    head = nncf.IgnoredScope(
        patterns=[r".*model\.\d+/.*"] if described.kind == "ultralytics" else [],
        types=["Sigmoid"] if described.kind == "yolox" else [],
        validate=False,
    )
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(islice(_inputs(described, pictures), CALIBRATION))),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=CALIBRATION,
        ignored_scope=head,
    )
    said = json.loads((detector / "detector.json").read_text(encoding="utf-8"))
    said.pop("onnx", None)  # that one is not quantised
    _save(quantised, out, {**said, "model": "model.xml"})
    return out


def _save(model: ov.Model, folder: Path, said: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, folder / "model.xml", compress_to_fp16=True)
    (folder / "detector.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _inputs(described: Description, pictures: Path) -> Iterator[NDArray[np.float32]]:
    """Yield pictures as the network takes them: (1, 3, size, size) float32."""
    for picture, _ in read(pictures):
        blob = letterbox(picture, described.input_size)[0].transpose(0, 3, 1, 2).astype(np.float32)
        if described.kind == "ultralytics":
            blob = np.ascontiguousarray(blob[:, ::-1] / np.float32(255))
        yield blob
