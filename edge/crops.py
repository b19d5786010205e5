"""Where in a changed place the item is, and its picture. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events import Box

Picture = NDArray[np.uint8]
SURROUNDINGS = 0.35


@dataclass(frozen=True, slots=True)
class Place:
    """A changed place at full resolution.

    before, after: (h, w, 3) uint8 BGR with surroundings. mask: (h, w) uint8, 255 = changed.
    inner: x1, y1, x2, y2 of the changed part in them. box: the same in pixels of the frame.
    """

    before: Picture
    after: Picture
    mask: NDArray[np.uint8]
    inner: tuple[int, int, int, int]
    box: Box

    def items(self, products: Sequence[Box]) -> list[Box]:
        """Return the boxes of the items, in pixels of the frame.

        products: boxes of detected products in the picture that holds the items. Those that fit the
        place say where the items are, one each; with none, the place is one item.
        """
        mine = [box for box in products if self._fits(box)]
        if not mine:
            return [self.box]
        alone = max(mine, key=lambda box: _overlap(box, self.box))
        return mine if len(mine) > 1 and _apart(mine) else [alone]

    def _fits(self, product: Box) -> bool:
        shared = _overlap(product, self.box)
        return shared > 0.6 * _area(product) and _area(product) > 0.25 * _area(self.box)

    def crops(self, picture: Picture, box: Box) -> tuple[Picture, ...]:
        """Return the item's crop from picture, (H, W, 3) uint8 BGR."""
        height, width = picture.shape[:2]
        x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
        x2, y2 = min(width, max(x1 + 1, round(box[2]))), min(height, max(y1 + 1, round(box[3])))
        return (picture[y1:y2, x1:x2].copy(),)


def place_of(
    small_box: tuple[int, int, int, int],
    small_mask: NDArray[np.uint8],
    before: Picture,
    after: Picture,
    scale: float,
) -> Place:
    """Cut a changed region out of two pictures.

    small_box, small_mask: the region in the small picture, as in `Region`. before, after:
    (H, W, 3) uint8 BGR, lined up with each other. scale: their size over the small picture's.
    """
    height, width = before.shape[:2]
    x1, y1, x2, y2 = small_box
    box = (x1 * scale, y1 * scale, min(width, x2 * scale), min(height, y2 * scale))
    margin = SURROUNDINGS * min(box[2] - box[0], box[3] - box[1]) + 4
    left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, bottom = min(width, int(box[2] + margin)), min(height, int(box[3] + margin))
    mask = np.asarray(
        cv2.resize(small_mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
    )
    inner = (
        round(box[0]) - left,
        round(box[1]) - top,
        round(box[2]) - left,
        round(box[3]) - top,
    )
    return Place(
        before[top:bottom, left:right].copy(),
        after[top:bottom, left:right].copy(),
        mask[top:bottom, left:right],
        inner,
        box,
    )


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(first: Box, second: Box) -> float:
    return _area(
        (
            max(first[0], second[0]),
            max(first[1], second[1]),
            min(first[2], second[2]),
            min(first[3], second[3]),
        )
    )


def _apart(boxes: Sequence[Box]) -> bool:
    """Whether no two of the boxes share much."""
    return all(
        _overlap(first, second) < 0.2 * min(_area(first), _area(second))
        for index, first in enumerate(boxes)
        for second in boxes[index + 1 :]
    )
