"""Judge detectors: average precision on pictures that were kept apart.

The real sets carry pseudo labels, made by YOLOX-Nano and the palm detector and checked for
consistency: a figure there says how close a detector comes to those two. The composed set and the
simulator carry truth.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.detection import Detection, Label, OpenVinoDetector, describe
from models.detection_boxes import overlap
from models.detector_labels import CLASSES, Labelled, MaterialError, Picture, read
from models.detector_simulator import known_boxes

OVERLAP = 0.5
WORKING_SCORE = 0.3
"""The score from which the device believes a detection."""

Judged = list[tuple[list[Detection], list[Labelled]]]


@dataclass(frozen=True, slots=True)
class Figure:
    """How well one label is found in one set.

    average_precision: area under precision over recall, at an overlap of 0.5; None where not every
        box is known, so that a detection without one is no error.
    recall: share of boxes found with at least the working score.
    boxes: how many there are.
    """

    average_precision: float | None
    recall: float
    boxes: int


def evaluate(
    detector: Path, material: Path, *, simulated: Sequence[Path] = (), threads: int = 1
) -> dict[str, Any]:
    """Return the figures of one detector by set and label, and its time a picture.

    detector: its folder. material: what `shelfgate detector material` made. simulated: folders that
    `shelfgate simulate` wrote and that were not trained with.
    Raises DetectorError or MaterialError.
    """
    network = OpenVinoDetector(describe(detector), threads=threads, min_score=0.01)
    sets = sorted(path for path in (material / "kept").glob("*") if path.is_dir())
    if not sets:
        raise MaterialError(
            f"{material}/kept: no pictures; `shelfgate detector material` makes them"
        )
    figures: dict[str, dict[str, Figure]] = {}
    seconds, pictures = 0.0, 0
    for folder in sets:
        judged, took = _look(network, read(folder))
        figures[folder.name] = _figures(judged, whole=True)
        seconds, pictures = seconds + took, pictures + len(judged)
    if simulated:
        judged = [pair for each in simulated for pair in _look(network, known_boxes(each))[0]]
        figures["simulator"] = _figures(judged, whole=False)
    return {
        "detector": str(detector),
        "sets": {
            name: {label: _plain(figure) for label, figure in by_label.items()}
            for name, by_label in figures.items()
        },
        "ms_per_picture": round(1000 * seconds / pictures, 2),
    }


def average_precision(judged: Judged, label: Label) -> float:
    """Return the area under precision over recall for label; 0.0 if it has no boxes.

    Detections are taken best first over all pictures; each may claim one box that overlaps it by
    half and that no better one has claimed. Precision is made monotonic, as usual.
    """
    total = sum(box.label == label for _, boxes in judged for box in boxes)
    scores: list[float] = []
    right: list[bool] = []
    for detections, boxes in judged:
        mine = [each for each in detections if each.label == label]
        scores.extend(each.score for each in mine)
        right.extend(_claims(mine, [box for box in boxes if box.label == label]))
    if not total or not scores:
        return 0.0
    hits = np.cumsum(np.array(right, float)[np.argsort(-np.array(scores), kind="stable")])
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * highest))


def name_of(folder: Path) -> str:
    """Return a detector's name; formats of one network are told apart by the folder above."""
    if folder.name in {"fp16", "int8"}:
        return f"{folder.resolve().parent.name} {folder.name}"
    return folder.name


def table(results: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return the results as a Markdown table, a column a detector."""
    lines = [
        "| set | label | boxes | measure | " + " | ".join(names) + " |",
        "| --- | --- | ---: | --- |" + " ---: |" * len(names),
    ]
    for name, by_label in results[0]["sets"].items():
        for label, first in by_label.items():
            whole = first["ap50"] is not None
            key, words = ("ap50", "AP50") if whole else ("recall", "recall")
            cells = [f"{result['sets'][name][label][key]:.3f}" for result in results]
            row = [name, label, str(first["boxes"]), words, *cells]
            lines.append("| " + " | ".join(row) + " |")
    times = [f"{result['ms_per_picture']:.1f}" for result in results]
    lines.append("| all | | | ms a picture, one thread | " + " | ".join(times) + " |")
    return "\n".join(lines) + "\n"


def _look(
    network: OpenVinoDetector, pictures: Iterable[tuple[Picture, list[Labelled]]]
) -> tuple[Judged, float]:
    judged: Judged = []
    seconds = 0.0
    for picture, boxes in pictures:
        begun = time.perf_counter()
        detections = network.detect(picture)
        seconds += time.perf_counter() - begun
        judged.append((detections, boxes))
    return judged, seconds


def _figures(judged: Judged, *, whole: bool) -> dict[str, Figure]:
    """Return a figure for each label that occurs. whole: whether every box is known."""
    figures: dict[str, Figure] = {}
    for label in CLASSES:
        total = sum(box.label == label for _, boxes in judged for box in boxes)
        if not total:
            continue
        found = 0
        for detections, boxes in judged:
            sure = [d for d in detections if d.label == label and d.score >= WORKING_SCORE]
            found += sum(_claims(sure, [box for box in boxes if box.label == label]))
        area = average_precision(judged, label) if whole else None
        figures[label] = Figure(area, found / total, total)
    return figures


def _claims(detections: list[Detection], boxes: list[Labelled]) -> list[bool]:
    """Tell for each detection, best first, whether it claims a box of its own."""
    if not boxes or not detections:
        return [False] * len(detections)
    shared = overlap(_corners(detections), _corners(boxes))
    free = np.ones(len(boxes), bool)
    claims = []
    for row in shared:
        best = int(np.argmax(np.where(free, row, -1.0)))
        claims.append(bool(free[best] and row[best] >= OVERLAP))
        if claims[-1]:
            free[best] = False
    return claims


def _corners(boxes: Sequence[Detection | Labelled]) -> NDArray[np.float32]:
    return np.array([each.box for each in boxes], np.float32)


def _plain(figure: Figure) -> dict[str, float | int | None]:
    area = figure.average_precision
    return {
        "ap50": None if area is None else round(area, 4),
        "recall": round(figure.recall, 4),
        "boxes": figure.boxes,
    }
