"""The shelf's picture at rest: what a camera sees while nobody is near.

Kept between changes, since most frames show the shelf as it was. Beside the picture stand how far
away each pixel is and which item it shows, from which what is hidden and the truth are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.furniture import Furniture
from edge.simulate.goods import Goods
from edge.simulate.scene import Camera, Image, Patch, lay, window
from edge.simulate.shelf import BOARD_DEPTH, Item, Shelf, Stack

FAR = 9.0
KEPT_PATCHES = 4000
SHADOW = 0.50
LEAST_VISIBLE_PX = 40


@dataclass(frozen=True, slots=True)
class Still:
    """A shelf at rest.

    image: (H, W, 3) uint8. depth: (H, W) float32, z in metres of what is seen.
    owner: (H, W) int32, 1 + facing * 64 + place in its stack, 0 for furniture.
    """

    image: Image
    depth: NDArray[np.float32]
    owner: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an item is visible: box in pixels, x2 and y2 exclusive, and which share of it."""

    box: tuple[int, int, int, int]
    share: float


class StillShelf:
    """Draws one shelf for one camera."""

    def __init__(self, shelf: Shelf, camera: Camera, goods: Goods, seed: int) -> None:
        self._shelf = shelf
        self._camera = camera
        self._goods = goods
        furniture = Furniture(shelf, camera, seed)
        self._background = furniture.background()
        self._boards = {row.number: furniture.board(row) for row in shelf.rows}
        self._patches: dict[tuple[str, float, float, float, int], Patch | None] = {}
        self._last: tuple[tuple[Stack, ...], Still] | None = None

    def draw(self, stacks: tuple[Stack, ...]) -> Still:
        """Draw the shelf filled like this."""
        if self._last is not None and self._last[0] == stacks:
            return self._last[1]
        shape = self._background.shape[:2]
        image = self._background.copy()
        depth = np.full(shape, FAR, dtype=np.float32)
        owner = np.zeros(shape, dtype=np.int32)
        still = Still(image, depth, owner)
        height = self._camera.position[1]
        rows = sorted(self._shelf.rows, key=lambda row: -abs(row.y + row.room / 2 - height))
        for row in rows:
            board = self._boards[row.number]
            if height > row.y:
                self._lay_board(still, board, FAR)
            self._lay_items(still, row.number, stacks)
            if height <= row.y:
                self._lay_board(still, board, -0.01)
        self._last = (stacks, still)
        return still

    def seen(self, stacks: tuple[Stack, ...], facing: int) -> Seen | None:
        """Return what is visible of the front item of a facing, None where next to nothing is."""
        owner = self.draw(stacks).owner
        mask = owner == 1 + facing * 64 + len(stacks[facing]) - 1
        pixels = int(mask.sum())
        patch = self._patch(self._shelf.facings[facing].row, stacks[facing][-1])
        if pixels < LEAST_VISIBLE_PX or patch is None:
            return None
        rows = np.nonzero(mask.any(axis=1))[0]
        columns = np.nonzero(mask.any(axis=0))[0]
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return Seen(box, min(pixels / max(int((patch.alpha > 127).sum()), 1), 1.0))

    def _lay_board(self, still: Still, board: Patch, depth: float) -> None:
        lay(still.image, board)
        part = window(board, still.depth.shape)
        if part is not None:
            solid = _cut(board, part) > 127
            still.depth[part][solid] = depth
            still.owner[part][solid] = 0

    def _lay_items(self, still: Still, row: int, stacks: tuple[Stack, ...]) -> None:
        standing = [
            (item.front, abs(item.x - float(self._camera.position[0])), facing.number, place, item)
            for facing in self._shelf.facings
            if facing.row == row
            for place, item in enumerate(stacks[facing.number])
        ]
        for front, _, facing, place, item in sorted(standing, key=lambda one: (-one[0], -one[1])):
            patch = self._patch(row, item)
            part = window(patch, still.depth.shape) if patch is not None else None
            if patch is None or part is None:
                continue
            lay(still.image, patch)
            solid = _cut(patch, part) > 127
            still.depth[part][solid] = front
            still.owner[part][solid] = 1 + facing * 64 + place

    def _patch(self, row: int, item: Item) -> Patch | None:
        key = (item.product.sku, item.x, item.front, item.yaw, row)
        if key not in self._patches:
            if len(self._patches) >= KEPT_PATCHES:
                self._patches.clear()
            depth = float(self._goods.measures(item.product)[2])
            pose = self._shelf.pose(row, item, depth)
            drawn = self._goods.draw(item.product, self._camera, pose, light_at(item.front))
            scale = self._camera.scale(pose.foot)
            self._patches[key] = None if drawn is None else _shadowed(drawn, scale)
        return self._patches[key]


def light_at(front: float) -> float:
    """Return how bright it is at a depth in the shelf: the boards above take the light away."""
    return float(1.0 - 0.42 * np.clip(front / BOARD_DEPTH, 0.0, 1.0))


def _cut(patch: Patch, part: tuple[slice, slice]) -> Image:
    y, x = part[0].start - patch.y, part[1].start - patch.x
    return patch.alpha[y : y + part[0].stop - part[0].start, x : x + part[1].stop - part[1].start]


def _shadowed(patch: Patch, scale: float) -> Patch:
    """Widen a patch by the soft shadow it casts on what stands beside and behind it."""
    soft = max(0.010 * scale, 1.0)
    margin = int(soft * 2.5)
    alpha = cv2.copyMakeBorder(patch.alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    colour = cv2.copyMakeBorder(patch.colour, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    shadow = cv2.GaussianBlur(alpha, (0, 0), soft).astype(np.float32) / 255.0
    keep = (1 - SHADOW * np.minimum(shadow * 1.3, 1.0)) * (255.0 - alpha)
    return replace(
        patch, x=patch.x - margin, y=patch.y - margin, colour=np.asarray(colour, np.uint8),
        keep=cv2.merge([keep.astype(np.uint8)] * 3), alpha=np.asarray(alpha, np.uint8),
    )  # fmt: skip
