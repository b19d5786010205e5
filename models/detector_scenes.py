"""Compose pictures whose boxes are known exactly: goods on shelves and tables, and hands.

Called by `models.detector_material`, which brings the cut-outs and the grounds to put them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from models.detection import Label
from models.detector_cutouts import Cutout, Mask, boxes_of, paste, varied
from models.detector_labels import Labelled, Picture

WIDTH = 416
"""Width of a composed picture in pixels."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A picture to compose on, and what can already be seen in it."""

    picture: Picture
    boxes: tuple[Labelled, ...] = ()


@dataclass(frozen=True, slots=True)
class Stock:
    """What scenes are made from: cut-outs of goods and hands, and grounds."""

    goods: Sequence[Cutout]
    hands: Sequence[Cutout]
    grounds: Sequence[Ground]


class Scene:
    """A picture being composed; knows what of each thing still shows."""

    def __init__(self, ground: Ground, random: Generator) -> None:
        """Begin with a ground, brought to the width of the material."""
        scale = WIDTH / ground.picture.shape[1]
        height = round(ground.picture.shape[0] * scale)
        self.picture: Picture = cv2.resize(ground.picture, (WIDTH, height)).astype(np.uint8)
        self.random = random
        self._seen: list[tuple[Label, Mask]] = []
        self._areas: list[int] = []
        for each in ground.boxes:
            x1, y1, x2, y2 = (round(value * scale) for value in each.box)
            mask = np.zeros(self.picture.shape[:2], np.uint8)
            mask[max(0, y1) : y2, max(0, x1) : x2] = 255
            self._seen.append((each.label, mask))
            self._areas.append(int(cv2.countNonZero(mask)))

    @property
    def height(self) -> int:
        """The picture's height in pixels."""
        return int(self.picture.shape[0])

    def put(self, cutout: Cutout, x: float, bottom: float) -> None:
        """Paste cutout with its lower edge at bottom and its left edge at x."""
        before = len(self._seen)
        paste(self.picture, cutout, round(x), round(bottom) - cutout.cover.shape[0], self._seen)
        if len(self._seen) > before:
            self._areas.append(int(cv2.countNonZero(cutout.core)))

    def boxes(self) -> list[Labelled]:
        """Return what can be seen and where."""
        return boxes_of(self._seen, self._areas)


def compose(stock: Stock, random: Generator) -> tuple[Picture, list[Labelled]]:
    """Return one picture and its boxes: a shelf, a loose heap or a ground with people in it."""
    ground = stock.grounds[int(random.integers(len(stock.grounds)))]
    if not ground.boxes and random.random() < 0.5:
        scene = Scene(_shelf_wall(random), random)
        _fill_shelves(scene, stock)
    else:
        scene = Scene(ground, random)
        _scatter(scene, stock, most=3 if ground.boxes else 8)
    if stock.hands and random.random() < 0.85:
        for _ in range(random.integers(1, 3)):
            _reach_in(scene, stock)
    return _as_a_camera_sees(scene.picture, random), scene.boxes()


def _shelf_wall(random: Generator) -> Ground:
    """Return an empty shelf: a shaded wall."""
    height = int(random.integers(234, 417))
    colour = random.uniform(40, 230, 3) * 0.3 + random.uniform(60, 230) * 0.7
    shade = np.linspace(random.uniform(0.6, 1.1), random.uniform(0.6, 1.1), height)[:, None, None]
    side = np.linspace(random.uniform(0.8, 1.1), random.uniform(0.8, 1.1), WIDTH)[None, :, None]
    return Ground(np.clip(colour * shade * side, 0, 255).astype(np.uint8))


def _fill_shelves(scene: Scene, stock: Stock) -> None:
    """Put rows of goods on boards; neighbours are often the same article."""
    random, rows = scene.random, int(scene.random.integers(1, 4))
    pitch = scene.height / rows
    board = random.uniform(40, 240, 3)
    for row in range(rows):
        bottom = (row + 1) * pitch - random.uniform(3, 9)
        scene.picture[round(bottom) : round(bottom) + 6] = board.astype(np.uint8)
        x, article = (
            float(random.uniform(-15, 60)),
            stock.goods[int(random.integers(len(stock.goods)))],
        )
        while x < WIDTH - 15:
            if random.random() < 0.55:
                article = stock.goods[int(random.integers(len(stock.goods)))]
            size = max(20, round(pitch * random.uniform(0.4, 0.9)))
            item = varied(article, size, random)
            spare = (item.cover.shape[0] - cv2.boundingRect(item.cover)[3]) / 2
            if random.random() < 0.8:
                scene.put(item, x - spare, bottom + spare)
            x += (item.cover.shape[1] - 2 * spare) * random.uniform(0.9, 1.5)


def _scatter(scene: Scene, stock: Stock, most: int) -> None:
    random = scene.random
    for _ in range(int(random.integers(0, most + 1))):
        size = round(scene.height * random.uniform(0.08, 0.6))
        item = varied(stock.goods[int(random.integers(len(stock.goods)))], max(20, size), random)
        scene.put(item, random.uniform(-20, WIDTH - 30), random.uniform(60, scene.height + 20))


def _reach_in(scene: Scene, stock: Stock) -> None:
    """Let a hand reach in, often with an article in it."""
    random = scene.random
    size = round(scene.height * random.uniform(0.15, 0.7))
    hand = varied(stock.hands[int(random.integers(len(stock.hands)))], max(30, size), random)
    x = random.uniform(-0.3 * hand.cover.shape[1], WIDTH - 0.5 * hand.cover.shape[1])
    bottom = random.uniform(0.3 * scene.height, scene.height + 0.3 * hand.cover.shape[0])
    if random.random() < 0.6:
        held = varied(
            stock.goods[int(random.integers(len(stock.goods)))],
            max(24, round(size * random.uniform(0.5, 1.2))),
            random,
        )
        left, top, width, height = cv2.boundingRect(hand.core)
        above = bottom - hand.cover.shape[0] + top
        scene.put(
            held,
            x + left + width / 2 - held.cover.shape[1] * random.uniform(0.3, 0.7),
            above + height * random.uniform(0.6, 1.0) + held.cover.shape[0] * 0.6,
        )
    scene.put(hand, x, bottom)


def _as_a_camera_sees(drawn: Picture, random: Generator) -> Picture:
    """Add what a camera adds: softness, noise, another exposure."""
    seen = drawn.astype(np.float32) * random.uniform(0.5, 1.25)
    if random.random() < 0.5:
        seen = cv2.GaussianBlur(seen, (0, 0), random.uniform(0.4, 1.6)).astype(np.float32)
    if random.random() < 0.5:
        seen += random.normal(0, random.uniform(1, 9), seen.shape).astype(np.float32)
    picture: Picture = np.clip(seen, 0, 255).astype(np.uint8)
    return picture
