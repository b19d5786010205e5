"""Draw the empty shelf: back wall, posts, boards and price rails."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.artwork import write
from edge.simulate.scene import Camera, Image, Patch, opaque, over, patch_of, warp_quad
from edge.simulate.shelf import BOARD_DEPTH, BOARD_THICK, RAIL_HEIGHT, Row, Shelf
from edge.simulate.words import Colour, mix

SUPERSAMPLE = 2
TEXELS = 1000
PAINTS: tuple[Colour, ...] = (
    (222, 226, 228), (200, 205, 205), (120, 165, 200), (95, 100, 105), (215, 222, 214),
)  # fmt: skip
RAILS: tuple[Colour, ...] = (
    (235, 235, 235), (60, 60, 65), (60, 70, 190), (150, 110, 40), (80, 130, 50),
)  # fmt: skip


class Furniture:
    """What a shelf is made of, drawn once for a camera."""

    def __init__(self, shelf: Shelf, camera: Camera, seed: int) -> None:
        rng = np.random.default_rng([seed, 31, shelf.number])
        self._paint = PAINTS[int(rng.integers(len(PAINTS)))]
        self._rail = RAILS[int(rng.integers(len(RAILS)))]
        self._shelf = shelf
        self._camera = camera
        self._rng = rng

    def background(self) -> Image:
        """Draw back wall, posts and what is seen beside the shelf, (H, W, 3) uint8."""
        camera, shelf = self._camera, self._shelf
        size = (camera.width * SUPERSAMPLE, camera.height * SUPERSAMPLE)
        layer = np.zeros((size[1], size[0], 4), dtype=np.uint8)
        layer[:] = (*mix(self._paint, (60, 55, 50), 0.7), 255)
        half, high = shelf.width / 2, shelf.height
        layer = self._quad(layer, self._wall(), (-half, high, BOARD_DEPTH), (half, -0.02))
        for side in (-1, 1):
            layer = self._cheek(layer, side)
        base = _plain(self._paint, 0.55, 40, 600)
        layer = self._quad(layer, base, (-half, -RAIL_HEIGHT, 0.0), (half, -0.4))
        small = cv2.resize(layer, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[:, :, :3], dtype=np.uint8)

    def board(self, row: Row) -> Patch:
        """Draw a board with its rail and price tags as a patch of the frame."""
        camera, half = self._camera, self._shelf.width / 2
        size = (camera.width * SUPERSAMPLE, camera.height * SUPERSAMPLE)
        layer = np.zeros((size[1], size[0], 4), dtype=np.uint8)
        from_above = camera.position[1] > row.y
        y = row.y if from_above else row.y - BOARD_THICK
        corners = np.array([[-half, y, BOARD_DEPTH], [half, y, BOARD_DEPTH],
                            [half, y, -0.004], [-half, y, -0.004]])  # fmt: skip
        ramp = np.linspace(0.45, 1.0, 64) if from_above else np.linspace(0.20, 0.42, 64)
        surface = np.array(self._paint, float) * ramp[:, None, None] * np.ones((1, 64, 1))
        layer = self._flat(layer, opaque(surface.astype(np.uint8)), corners)
        rail = self._rail_picture(row)
        layer = self._quad(layer, opaque(rail), (-half, row.y + 0.004, -0.006),
                           (half, row.y + 0.004 - RAIL_HEIGHT))  # fmt: skip
        frame = (camera.width, camera.height)
        small = np.asarray(cv2.resize(layer, frame, interpolation=cv2.INTER_AREA), np.uint8)
        rows = np.nonzero(small[:, :, 3].any(axis=1))[0]
        if len(rows) == 0:
            return patch_of(small[:1], 0, -10)
        return patch_of(np.ascontiguousarray(small[rows[0] : rows[-1] + 1]), 0, int(rows[0]))

    def _quad(
        self, layer: Image, texture: Image, start: tuple[float, float, float],
        stop: tuple[float, float],
    ) -> Image:  # fmt: skip
        """Lay a texture on an upright rectangle: start is its top left, stop its lower right."""
        x1, y1, z = start
        x2, y2 = stop
        corners = np.array([[x1, y1, z], [x2, y1, z], [x2, y2, z], [x1, y2, z]])
        return self._flat(layer, texture, corners)

    def _flat(self, layer: Image, texture: Image, corners: NDArray[np.float64]) -> Image:
        flat = self._camera.project(corners)[:, :2] * SUPERSAMPLE
        return over(warp_quad(texture, flat, (layer.shape[1], layer.shape[0])), layer)

    def _wall(self) -> Image:
        shelf = self._shelf
        height, width = round(shelf.height * TEXELS / 2), round(shelf.width * TEXELS / 2)
        wall = np.empty((height, width, 3), dtype=np.float64)
        wall[:] = np.array(self._paint) * 0.5
        wall[::12, ::12] *= 0.4
        wall[1::12, ::12] *= 0.5
        tops = [row.y + row.room for row in shelf.rows]
        for top in tops:
            line = round((shelf.height - top) * TEXELS / 2)
            shade = np.linspace(0.45, 1.0, 70)[:, None, None]
            span = wall[max(line, 0) : line + 70]
            span *= shade[: len(span)]
        return opaque(np.clip(wall, 0, 255).astype(np.uint8))

    def _cheek(self, layer: Image, side: int) -> Image:
        half, high = self._shelf.width / 2 * side, self._shelf.height
        inside = np.array([[half, high, 0.0], [half, high, BOARD_DEPTH],
                           [half, -0.02, BOARD_DEPTH], [half, -0.02, 0.0]])  # fmt: skip
        layer = self._flat(layer, _plain(self._paint, 0.5, 32, 32), inside)
        outer = half + 0.03 * side
        left, right = min(half, outer), max(half, outer)
        post = _plain(self._paint, 0.82, 400, 16)
        post[::20, 6:10, :3] //= 3
        return self._quad(layer, post, (left, high + 0.02, -0.002), (right, -0.4))

    def _rail_picture(self, row: Row) -> Image:
        shelf = self._shelf
        tall, width = round(RAIL_HEIGHT * TEXELS), round(shelf.width * TEXELS)
        picture: Image = np.empty((tall, width, 3), dtype=np.uint8)
        ramp = np.concatenate([np.linspace(1.12, 0.95, tall // 3), np.full(tall - tall // 3, 0.92)])
        picture[:] = np.clip(np.array(self._rail) * ramp[:, None, None], 0, 255)
        for facing in shelf.facings:
            if facing.row == row.number:
                middle = round((facing.x + shelf.width / 2) * TEXELS)
                self._tag(picture, middle, facing.product.price_minor, facing.product.name)
        return picture

    def _tag(self, picture: Image, middle: int, price: int, name: str) -> None:
        tall = picture.shape[0]
        x1, x2 = middle - 30, middle + 30
        colour = (250, 250, 250) if self._rng.random() < 0.85 else (60, 225, 250)
        cv2.rectangle(picture, (x1, 3), (x2, tall - 4), colour, -1)
        cv2.rectangle(picture, (x1, 3), (x2, tall - 4), (120, 120, 120), 1)
        write(picture, name.split(" ")[0], (middle - 8, 10), 34, 9, (70, 70, 70), weight=500)
        write(picture, f"{price // 100}.{price % 100:02d}", (middle - 6, 24), 40, 15, (20, 20, 20))
        for x in range(x2 - 14, x2 - 3, 2):
            cv2.line(picture, (x, 7), (x, tall - 8), (60, 60, 60), int(self._rng.integers(1, 3)))


def _plain(colour: Colour, light: float, height: int, width: int) -> Image:
    picture: Image = np.empty((height, width, 3), dtype=np.uint8)
    ramp = np.linspace(1.0, 0.86, height)[:, None, None]
    picture[:] = np.clip(np.array(colour) * light * ramp, 0, 255)
    return opaque(picture)
