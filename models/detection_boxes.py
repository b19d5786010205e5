"""Prepare a picture for a detection network and read the boxes from what it gives back.

The arithmetic of `models.detection`, without any runtime: arrays in, arrays out. Ground floor:
imports none of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING = 114
"""Grey of what the picture does not cover; what these networks were trained with."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a network proposes before overlapping boxes are removed.

    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the network's input.
    scores: (N,) float32 in [0, 1]. classes: (N,) int64.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much smaller the network's picture is than the source's, by axis."""

    x: float
    y: float

    def to_picture(
        self, boxes: NDArray[np.float32], *, width: int, height: int
    ) -> NDArray[np.float32]:
        """Return boxes, (N, 4), in pixels of the source picture, cut at its edges."""
        scale = np.array([self.x, self.y, self.x, self.y], np.float32)
        edge = np.array([width, height, width, height], np.float32)
        inside: NDArray[np.float32] = np.clip(boxes / scale, 0.0, edge)
        return inside


def letterbox(image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], Scale]:
    """Fit image into the top left corner of a grey square, keeping its proportions.

    image: (H, W, 3) uint8. Returns (1, size, size, 3) uint8 and the scale used.
    """
    height, width = image.shape[:2]
    ratio = size / max(height, width)
    inner_width, inner_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    square = np.empty((1, size, size, 3), np.uint8)
    square[0, inner_height:] = PADDING
    square[0, :inner_height, inner_width:] = PADDING
    inner = square[0, :inner_height, :inner_width]
    inner[:] = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR)
    return square, Scale(inner_width / width, inner_height / height)


class YoloxDecoder:
    """Reads YOLOX: (1, N, 5 + C) of offset, log size, objectness and class scores by grid cell."""

    def __init__(self, size: int, strides: tuple[int, ...] = (8, 16, 32)) -> None:
        """Lay out the grid of an input of size x size pixels."""
        cells, widths = [], []
        for stride in strides:
            side = size // stride
            rows, columns = np.divmod(np.arange(side * side), side)
            cells.append(np.stack([columns, rows], axis=1))
            widths.append(np.full((side * side, 1), stride))
        self._cells = np.concatenate(cells).astype(np.float32)
        self._strides = np.concatenate(widths).astype(np.float32)

    def decode(self, output: NDArray[np.float32], min_score: float) -> Candidates:
        """Keep the cells that score at least min_score; most fall at objectness alone."""
        rows = output[0]
        likely = np.flatnonzero(rows[:, 4] >= min_score)
        taken = rows[likely]
        classes = taken[:, 5:].argmax(axis=1)
        scores = taken[:, 4] * taken[np.arange(len(taken)), 5 + classes]
        kept = scores >= min_score
        taken, likely = taken[kept], likely[kept]
        centres = (taken[:, :2] + self._cells[likely]) * self._strides[likely]
        half = np.exp(taken[:, 2:4]) * self._strides[likely] / 2
        boxes = np.concatenate([centres - half, centres + half], axis=1)
        return Candidates(boxes, scores[kept], classes[kept])


class UltralyticsDecoder:
    """Reads YOLOv8 and YOLO11: (1, 4 + C, N) of centre, size and class scores, in input pixels."""

    def decode(self, output: NDArray[np.float32], min_score: float) -> Candidates:
        """Keep the anchors whose best class scores at least min_score."""
        best = output[0, 4:].max(axis=0)
        kept = np.flatnonzero(best >= min_score)
        taken = output[0][:, kept].T
        half = taken[:, 2:4] / 2
        boxes = np.concatenate([taken[:, :2] - half, taken[:, :2] + half], axis=1)
        return Candidates(boxes, best[kept], taken[:, 4:].argmax(axis=1))


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return intersection over union, (N, M), of boxes (N, 4) and (M, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_one = np.prod(one[:, 2:] - one[:, :2], axis=1)
    area_other = np.prod(other[:, 2:] - other[:, :2], axis=1)
    union = area_one[:, None] + area_other[None, :] - shared
    ratio: NDArray[np.float32] = (shared / np.maximum(union, 1e-9)).astype(np.float32)
    return ratio


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    max_overlap: float = 0.5,
    limit: int = 300,
) -> NDArray[np.int64]:
    """Return the indices of the boxes to keep, best first: of those of one class that overlap, one.

    boxes: (N, 4), scores and classes: (N,). Looks at the best `limit` boxes of each call.
    """
    order = np.argsort(-scores, kind="stable")[:limit]
    rivals = overlap(boxes[order], boxes[order]) > max_overlap
    rivals &= classes[order][:, None] == classes[order][None, :]
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~rivals[i, i + 1 :]
    kept: NDArray[np.int64] = order[alive]
    return kept
