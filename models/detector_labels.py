"""Labelled pictures for training and judging the detector: the words, and how they lie on disk.

A set is a folder with `images/*.jpg` and `labels/*.txt` beside it, one line a box in ultralytics'
format: class number, centre and size as shares of the picture. Used by the material, training and
evaluation of the detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detection import Label

CLASSES: tuple[Label, ...] = ("product", "hand", "person")
"""In the order of the network's outputs."""

Picture = NDArray[np.uint8]


class MaterialError(Exception):
    """Pictures or labels that are not there or cannot be used; the message says which."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """box: x1, y1, x2, y2 in pixels of the picture it is in."""

    label: Label
    box: tuple[float, float, float, float]


def write(folder: Path, name: str, picture: Picture, boxes: Iterable[Labelled]) -> None:
    """Add a picture, (H, W, 3) uint8 BGR, with its boxes to a set."""
    height, width = picture.shape[:2]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    lines = []
    for each in boxes:
        x1, x2 = np.clip([each.box[0], each.box[2]], 0, width) / width
        y1, y2 = np.clip([each.box[1], each.box[3]], 0, height) / height
        if x2 - x1 > 0.004 and y2 - y1 > 0.004:
            middle = f"{(x1 + x2) / 2:.5f} {(y1 + y2) / 2:.5f}"
            lines.append(f"{CLASSES.index(each.label)} {middle} {x2 - x1:.5f} {y2 - y1:.5f}\n")
    (folder / "labels" / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def read(folder: Path) -> Iterator[tuple[Picture, list[Labelled]]]:
    """Yield every picture of a set with its boxes, by name. Raises MaterialError if it has none."""
    pictures = sorted((folder / "images").glob("*.jpg"))
    if not pictures:
        raise MaterialError(f"{folder}: no pictures; `shelfgate detector material` makes them")
    for path in pictures:
        picture = cv2.imread(str(path))
        if picture is None:
            raise MaterialError(f"{path}: cannot be read as a picture")
        lines = (folder / "labels" / f"{path.stem}.txt").read_text(encoding="utf-8").splitlines()
        size = np.array([picture.shape[1], picture.shape[0]] * 2)
        boxes = []
        for line in lines:
            number, x, y, w, h = (float(word) for word in line.split())
            box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * size
            boxes.append(Labelled(CLASSES[int(number)], (box[0], box[1], box[2], box[3])))
        yield picture.astype(np.uint8), boxes


def frames(clip: Path) -> Iterator[tuple[int, Picture]]:
    """Yield the frames of a clip with their numbers. Raises MaterialError where there are none."""
    capture = cv2.VideoCapture(str(clip))
    number = 0
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        yield number, frame.astype(np.uint8)
        number += 1
    capture.release()
    if not number:
        raise MaterialError(f"{clip}: no frame can be read from it")
