"""A shelf: boards, facings and what stands in them, in metres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge.simulate.catalogue import Product
from edge.simulate.goods import Pose
from edge.simulate.scene import Camera, Point, point
from edge.simulate.settings import Angle, Settings

Measures = Callable[[Product], Point]

BOARD_DEPTH = 0.43
BOARD_THICK = 0.022
RAIL_HEIGHT = 0.038
CLEARANCE = 0.055
GAP_ACROSS = 0.014
GAP_BEHIND = 0.006
FRONT_LINE = 0.012
NARROWEST_M = 1.15


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of goods on a board: its x, the z of its front, and how it is turned (radians)."""

    product: Product
    x: float
    front: float
    yaw: float = 0.0


Stack = tuple[Item, ...]
"""What stands in a facing, the back one first."""


@dataclass(frozen=True, slots=True)
class Facing:
    """A product's place on a board; capacity counts items behind one another."""

    number: int
    row: int
    x: float
    width: float
    product: Product
    capacity: int


@dataclass(frozen=True, slots=True)
class Row:
    """A board: the height of its surface and of the room above it, in metres."""

    number: int
    y: float
    room: float


@dataclass(frozen=True, slots=True)
class Shelf:
    """One shelf as built and filled at the beginning."""

    number: int
    width: float
    height: float
    rows: tuple[Row, ...]
    facings: tuple[Facing, ...]
    stacks: tuple[Stack, ...]

    def foot(self, row: int, item: Item, depth: float) -> Point:
        """Return the centre of an item's foot in the world; depth is the item's own."""
        return point(item.x, self.rows[row].y, item.front + depth / 2)

    def pose(self, row: int, item: Item, depth: float) -> Pose:
        """Return how an item stands."""
        return Pose(self.foot(row, item, depth), item.yaw)


def build(
    number: int, products: Sequence[Product], settings: Settings, measures: Measures
) -> Shelf:
    """Build and fill a shelf for these products, look-alikes side by side."""
    rng = np.random.default_rng([settings.seed, 21, number])
    order = _planogram(products, rng)
    across = [float(measures(product)[0]) + GAP_ACROSS for product in order]
    while sum(across) < 3 * (NARROWEST_M - 0.12):
        again = int(rng.integers(len(order)))
        order.insert(again, order[again])
        across.insert(again, across[again])
    rows_wanted = 3 if len(order) <= 46 else 4
    split = _split(across, rows_wanted)
    width = max(sum(across[a:b]) for a, b in split) + 0.05
    rows: list[Row] = []
    facings: list[Facing] = []
    y = 0.0
    for index, (start, stop) in enumerate(split):
        tallest = max(float(measures(product)[1]) for product in order[start:stop])
        rows.append(Row(index, y, tallest + CLEARANCE))
        spare = (width - 0.03 - sum(across[start:stop])) / (stop - start)
        x = -width / 2 + 0.015
        for product, wide in zip(order[start:stop], across[start:stop], strict=True):
            depth = float(measures(product)[2])
            room = int((BOARD_DEPTH - FRONT_LINE) / (depth + GAP_BEHIND))
            facings.append(
                Facing(len(facings), index, x + (wide + spare) / 2, wide + spare, product, room)
            )
            x += wide + spare
        y += tallest + CLEARANCE + BOARD_THICK
    stacks = tuple(_filled(facing, settings.depth, measures, rng) for facing in facings)
    return Shelf(number, width, y, tuple(rows), tuple(facings), stacks)


def _planogram(products: Sequence[Product], rng: np.random.Generator) -> list[Product]:
    blocks: dict[str, list[Product]] = {}
    for product in products:
        key = product.sku if product.family is None else f"family {product.family}"
        blocks.setdefault(key, []).append(product)
    keys = sorted(blocks)
    return [product for i in rng.permutation(len(keys)) for product in blocks[keys[int(i)]]]


def _split(across: Sequence[float], rows: int) -> list[tuple[int, int]]:
    total, bounds, walked = sum(across), [0], 0.0
    for index, wide in enumerate(across):
        if walked + wide / 2 > total * len(bounds) / rows and len(bounds) < rows:
            bounds.append(index)
        walked += wide
    bounds.append(len(across))
    pairs = list(pairwise(bounds))
    return [pair for pair in pairs if pair[1] > pair[0]]


def _filled(
    facing: Facing, depth: tuple[int, int], measures: Measures, rng: np.random.Generator
) -> Stack:
    most = min(depth[1], facing.capacity)
    count = int(rng.integers(min(depth[0], most), most + 1))
    deep = float(measures(facing.product)[2]) + GAP_BEHIND
    pushed = float(rng.uniform(0, 0.012))
    items = [
        Item(
            facing.product,
            facing.x + float(rng.normal(0, 0.0015)),
            FRONT_LINE + pushed + deep * index,
            float(rng.normal(0, 0.02)),
        )
        for index in range(count)
    ]
    return tuple(reversed(items))


def camera_for(shelf: Shelf, settings: Settings, above: bool, number: int) -> Camera:
    """Hang a camera so that the whole shelf is in its picture."""
    rng = np.random.default_rng([settings.seed, 23, number])
    field = 60.0
    size = (settings.width, settings.height)
    slope = np.radians(field) / 2
    by_width = (shelf.width / 2 + 0.02) / np.tan(slope)
    by_height = (shelf.height / 2 + 0.03) / (np.tan(slope) * size[1] / size[0])
    away = float(max(by_width, by_height))
    if above:
        tilt = np.radians(float(rng.uniform(27, 33)))
        target = point(0.0, shelf.height * 0.46, 0.05)
        offset = away * 1.06 * point(0.0, np.sin(tilt), -np.cos(tilt))
    else:
        target = point(0.0, shelf.height * 0.5, 0.0)
        offset = point(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.12, 0.24)), -away)
    return Camera.looking(size, target + offset, target, field)


def angles_of(settings: Settings) -> list[tuple[int, bool]]:
    """Return for every camera the number of its shelf and whether it hangs above."""
    if settings.angle is Angle.BOTH:
        return [(camera // 2, camera % 2 == 1) for camera in range(settings.cameras)]
    return [(camera, settings.angle is Angle.ABOVE) for camera in range(settings.cameras)]
