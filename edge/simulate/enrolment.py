"""Pictures of each product as a provider or a shop would send them for enrolment.

Packshots on a plain ground, and pictures at the store's scale and light from places, angles and
noise that the clips do not have.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.simulate.catalogue import Product
from edge.simulate.goods import Goods, Pose
from edge.simulate.scene import Camera, Image, lay, point

PACKSHOTS, IN_STORE = 3, 5
FIELD_DEG = 30.0


def pictures_of(
    product: Product, goods: Goods, pixels_a_metre: float, seed: int
) -> list[tuple[str, Image]]:
    """Return names and (h, w, 3) uint8 pictures of a product.

    pixels_a_metre: how large goods are in the store's cameras.
    """
    rng = np.random.default_rng([seed, 91, *product.sku.encode()])
    views: list[tuple[str, Image]] = []
    for number in range(PACKSHOTS):
        elevation = float(np.radians((4, 14, 26)[number % 3]))
        yaw = float(rng.uniform(-0.12, 0.12))
        ground = np.full(3, 255.0 if number < 2 else 238.0)
        shot = _shot(product, goods, 900.0, elevation, yaw, ground)
        views.append((f"packshot-{number + 1}", shot))
    for number in range(IN_STORE):
        elevation = float(np.radians(rng.uniform(2, 38)))
        yaw = float(rng.normal(0, 0.1))
        ground = np.full(3, float(rng.uniform(40, 150)))
        scale = pixels_a_metre * float(rng.uniform(0.85, 1.15))
        shot = _shot(product, goods, scale, elevation, yaw, ground)
        views.append((f"store-{number + 1}", _in_store(shot, rng)))
    return views


def _shot(
    product: Product, goods: Goods, scale: float, elevation: float, yaw: float, ground: Image
) -> Image:
    measures = goods.measures(product)
    away = 1.5
    side = max(round(float(max(measures)) * scale * 1.5), 32)
    centre = point(0.0, float(measures[1]) / 2, 0.0)
    position = centre + away * point(0.0, np.sin(elevation), -np.cos(elevation))
    camera = Camera(
        side, side, scale * away, position, Camera.looking((side, side), position, centre, 40).axes
    )
    canvas: Image = np.empty((side, side, 3), dtype=np.uint8)
    canvas[:] = ground
    patch = goods.draw(product, camera, Pose(point(0.0, 0.0, 0.0), yaw))
    if patch is None:
        return canvas
    soft = max(side // 40, 1)
    shadow = cv2.GaussianBlur(patch.alpha, (0, 0), soft)
    margin = max(side // 16, 2)
    y, x = max(patch.y + soft, 0), max(patch.x + soft, 0)
    part = canvas[y : y + shadow.shape[0], x : x + shadow.shape[1]]
    keep = 1 - 0.25 * shadow[: part.shape[0], : part.shape[1], None] / 255.0
    part[...] = part * keep
    lay(canvas, patch)
    rows, columns = np.nonzero(patch.alpha > 127)
    y1, x1 = (
        max(patch.y + int(rows.min()) - margin, 0),
        max(patch.x + int(columns.min()) - margin, 0),
    )
    y2, x2 = patch.y + int(rows.max()) + margin, patch.x + int(columns.max()) + margin
    return np.ascontiguousarray(canvas[y1:y2, x1:x2])


def _in_store(shot: Image, rng: np.random.Generator) -> Image:
    gain = float(rng.uniform(0.7, 1.05)) * rng.uniform(0.97, 1.03, 3)
    noisy = shot * gain + rng.normal(0, 3.0, shot.shape)
    return np.asarray(cv2.GaussianBlur(np.clip(noisy, 0, 255), (0, 0), 0.6), np.uint8)
