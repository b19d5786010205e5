"""Draw the simulated store's goods as crops, to learn and to calibrate with.

Photographs of enough packages, from enough sides and in enough light, are not at hand; the
simulator draws as many as one wants, and knows which are nearly alike. Called by
`shelfgate models build-default`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.catalogue import Product, products_for
from edge.simulate.goods import Goods, Pose
from edge.simulate.scene import Camera, lay, point
from edge.simulate.settings import Settings

Crop = NDArray[np.uint8]
_FRAME = (960, 540)
_FIELD_DEG = 60.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn product and crops of it.

    neat: as a shop photographs it for enrolment. seen: as a shelf camera sees it.
    """

    sku: str
    known: bool
    neat: tuple[Crop, ...]
    seen: tuple[Crop, ...]


def drawn_store(
    seed: int, *, skus: int = 40, unknown: int = 6, neat: int = 6, seen: int = 10
) -> Iterator[Drawn]:
    """Draw each product of a store; the same seed always draws the same."""
    random = np.random.default_rng([seed, 23])
    products = products_for(Settings(seed=seed, skus=skus, unknown=unknown))
    goods = Goods()
    for product in products:
        yield Drawn(
            f"drawn-{seed}-{product.sku}",
            product.known,
            tuple(_neat(goods, product, random) for _ in range(neat)),
            tuple(_seen(goods, product, products, random) for _ in range(seen)),
        )


def _neat(goods: Goods, product: Product, random: np.random.Generator) -> Crop:
    height = float(goods.measures(product)[1])
    camera = _camera(height, 1.3, random.uniform(-0.1, 0.1), 0.13)
    return _crop(goods, product, camera, _ground(random), 1.0, random.uniform(-0.2, 0.2), 0.02)


def _seen(
    goods: Goods, product: Product, others: tuple[Product, ...], random: np.random.Generator
) -> Crop:
    """Draw among neighbours, from some side and height, in some light, boxed not quite right."""
    width, height, _ = goods.measures(product)
    distance = random.uniform(1.0, 2.2)
    camera = _camera(
        float(height),
        distance,
        random.uniform(-0.35, 0.35) * distance,
        random.uniform(-0.1, 0.5) * distance,
    )
    light = random.uniform(0.55, 1.1)
    ground = _ground(random)
    for side in (-1, 1):
        neighbour = others[random.integers(len(others))]
        away = side * (width / 2 + goods.measures(neighbour)[0] / 2 + random.uniform(0.005, 0.03))
        back = random.uniform(-0.02, 0.05)
        patch = goods.draw(neighbour, camera, Pose(point(float(away), 0, back)), light)
        if patch is not None:
            lay(ground, patch)
    crop = _crop(
        goods, product, camera, ground, light, random.normal(0, 0.12), random.uniform(-0.08, 0.08)
    )
    noise = random.normal(0, random.uniform(0, 6), crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


def _camera(height: float, distance: float, side: float, above: float) -> Camera:
    position = point(side, height / 2 + above, -distance)
    return Camera.looking(_FRAME, position, point(side / 2, height / 2, 0), _FIELD_DEG)


def _ground(random: np.random.Generator) -> Crop:
    rough = random.integers(60, 200, 3) + random.normal(0, 8, (_FRAME[1] // 6, _FRAME[0] // 6, 3))
    small = np.clip(rough, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(small, _FRAME, interpolation=cv2.INTER_CUBIC), np.uint8)


def _crop(
    goods: Goods,
    product: Product,
    camera: Camera,
    ground: Crop,
    light: float,
    yaw: float,
    loose: float,
) -> Crop:
    """Draw a product onto ground and cut it out with a box that is loose by this share."""
    patch = goods.draw(product, camera, Pose(point(0, 0, 0), yaw), light)
    if patch is None:
        raise ValueError(f"{product.sku} is out of the picture")
    lay(ground, patch)
    rows, columns = np.nonzero(patch.alpha > 30)
    x1, x2 = patch.x + columns.min(), patch.x + columns.max() + 1
    y1, y2 = patch.y + rows.min(), patch.y + rows.max() + 1
    grow_x, grow_y = round((x2 - x1) * loose), round((y2 - y1) * loose)
    top, left = max(0, y1 - grow_y), max(0, x1 - grow_x)
    return ground[top : max(top + 2, y2 + grow_y), left : max(left + 2, x2 + grow_x)].copy()
