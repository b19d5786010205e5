"""Turn a product and a pose into a patch of the camera's picture.

Boxes, cartons, bags and pictured packages are drawn as faces in true perspective; round goods and
toys as sprites drawn for the elevation they are seen from.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate import artwork, round_goods, toys
from edge.simulate.catalogue import Design, Product
from edge.simulate.cutout import pictured
from edge.simulate.round_goods import Sprite, Turned
from edge.simulate.scene import (
    Camera,
    Image,
    Patch,
    Point,
    level_for,
    opaque,
    over,
    patch_of,
    point,
    pyramid,
    warp_quad,
)

ELEVATION_STEP = np.radians(4)
SUPERSAMPLE = 2
FACED = ("box", "carton", "bag", "picture")


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a thing stands: the centre of its foot in the world, turned by yaw, tilted by roll."""

    foot: Point
    yaw: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True, slots=True)
class Face:
    """One side of a package: texture pyramid, corners (4, 3) on the unit body, how much light."""

    levels: tuple[Image, ...]
    corners: NDArray[np.float64]
    light: float


class Goods:
    """Draws products; keeps the textures and sprites it has made."""

    def __init__(self) -> None:
        self._faces: dict[str, tuple[Face, ...]] = {}
        self._turned: dict[str, Turned] = {}
        self._sprites: dict[tuple[str, int], Sprite] = {}
        self._measures: dict[str, Point] = {}

    def measures(self, product: Product) -> Point:
        """Width, height and depth of a product in metres, (3,)."""
        known = self._measures.get(product.sku)
        if known is None:
            design = product.design
            known = point(design.width, design.height, design.depth)
            if design.picture is not None:
                known = pictured(design.picture).measures
            self._measures[product.sku] = known
        return known

    def draw(
        self, product: Product, camera: Camera, pose: Pose, light: float = 1.0, fine: bool = True
    ) -> Patch | None:
        """Draw a product as a camera sees it, None where it is out of the picture.

        light: brightness at the place. fine: anti-aliased by drawing at twice the size.
        """
        body = self._body(product, pose)
        seen = camera.project(body)
        margin = 3
        x1, y1 = np.floor(seen[:, :2].min(axis=0)).astype(int) - margin
        x2, y2 = np.ceil(seen[:, :2].max(axis=0)).astype(int) + margin
        off = x2 < 0 or y2 < 0 or x1 > camera.width or y1 > camera.height
        if off or max(x2 - x1, y2 - y1) > 3 * camera.width:
            return None
        factor = SUPERSAMPLE if fine else 1
        size = (int(x2 - x1) * factor, int(y2 - y1) * factor)
        if product.design.shape in FACED:
            layer = self._draw_faces(product, camera, pose, body, (seen, x1, y1), size, factor)
        else:
            layer = self._draw_sprite(product, camera, pose, (seen, x1, y1), size, factor)
        if fine:
            small = (size[0] // factor, size[1] // factor)
            layer = np.asarray(cv2.resize(layer, small, interpolation=cv2.INTER_AREA), np.uint8)
        return patch_of(layer, int(x1), int(y1), light)

    def _body(self, product: Product, pose: Pose) -> NDArray[np.float64]:
        """Corners (8, 3) of the box round a product, foot first, counted x then z then y."""
        width, height, depth = self.measures(product)
        unit = np.array([[x, y, z] for y in (0, 1) for z in (0, 1) for x in (0, 1)], float)
        return place(unit, (width, height, depth), pose)

    def _draw_faces(
        self, product: Product, camera: Camera, pose: Pose, body: NDArray[np.float64],
        frame: tuple[NDArray[np.float64], int, int], size: tuple[int, int], factor: int,
    ) -> Image:  # fmt: skip
        measures = self.measures(product)
        start = np.array([frame[1], frame[2]])
        layer: Image = np.zeros((size[1], size[0], 4), dtype=np.uint8)
        for face in self._faces_of(product):
            corners = place(face.corners, (measures[0], measures[1], measures[2]), pose)
            flat = (camera.project(corners)[:, :2] - start) * factor
            area = float(cv2.contourArea(flat.astype(np.float32), oriented=True))
            if area < 4:
                continue
            tall = float(np.linalg.norm(flat[3] - flat[0]))
            texture = level_for(face.levels, tall)
            drawn = warp_quad(texture, flat, size)
            if face.light != 1.0:
                drawn[:, :, :3] = cv2.convertScaleAbs(drawn[:, :, :3], alpha=face.light)
            layer = over(drawn, layer)
        return layer

    def _draw_sprite(
        self, product: Product, camera: Camera, pose: Pose,
        frame: tuple[NDArray[np.float64], int, int], size: tuple[int, int], factor: int,
    ) -> Image:  # fmt: skip
        sprite = self._sprite(product, camera.elevation(pose.foot))
        height = float(self.measures(product)[1])
        up = point(np.sin(pose.roll) * height, np.cos(pose.roll) * height, 0.0)
        ends = camera.project(np.stack([pose.foot, pose.foot + up]))
        middle = camera.project(pose.foot + up / 2)[0, 2]
        scale = camera.focal / middle / round_goods.SPRITE_TEXELS * factor
        lean = ends[1, :2] - ends[0, :2]
        angle = float(np.arctan2(lean[0], -lean[1]))
        sine, cosine = np.sin(angle) * scale, np.cos(angle) * scale
        matrix = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
        target = (ends[0, :2] - np.array([frame[1], frame[2]])) * factor
        matrix[:, 2] = target - matrix[:, :2] @ np.array(sprite.foot)
        source = sprite.layer
        while scale < 0.5:
            source = np.asarray(cv2.pyrDown(source), np.uint8)
            matrix[:, :2] *= 2
            scale *= 2
        warped = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR)
        return np.asarray(warped, np.uint8)

    def _sprite(self, product: Product, elevation: float) -> Sprite:
        step = round(elevation / ELEVATION_STEP)
        key = (product.sku, step)
        if key not in self._sprites:
            design = product.design
            if design.shape in ("duck", "bear", "robot", "ball"):
                self._sprites[key] = toys.toy(design, step * ELEVATION_STEP)
            else:
                if product.sku not in self._turned:
                    self._turned[product.sku] = round_goods.turned(design)
                self._sprites[key] = round_goods.lathe(
                    self._turned[product.sku], step * ELEVATION_STEP
                )
        return self._sprites[key]

    def _faces_of(self, product: Product) -> tuple[Face, ...]:
        if product.sku not in self._faces:
            self._faces[product.sku] = faces(product.design)
        return self._faces[product.sku]


def place(
    unit: NDArray[np.float64], measures: tuple[float, float, float], pose: Pose
) -> NDArray[np.float64]:
    """Bring (N, 3) points of the unit body (0..1 each way) into the world."""
    local = (unit - np.array([0.5, 0.0, 0.5])) * np.array(measures)
    x = local[:, 0] * np.cos(pose.yaw) + local[:, 2] * np.sin(pose.yaw)
    z = local[:, 2] * np.cos(pose.yaw) - local[:, 0] * np.sin(pose.yaw)
    y = local[:, 1]
    tilted_x = x * np.cos(pose.roll) + y * np.sin(pose.roll)
    tilted_y = y * np.cos(pose.roll) - x * np.sin(pose.roll)
    return np.stack([tilted_x, tilted_y, z], axis=1) + pose.foot


def faces(design: Design) -> tuple[Face, ...]:
    """Return the faces a package is drawn from; those turned away are left out when drawing."""
    if design.picture is not None:
        cut = pictured(design.picture)
        return (Face(pyramid(cut.layer), _upright(0.25, 0.25), 1.0),)
    if design.shape == "bag":
        return (Face(pyramid(_bag(design)), _upright(0.15, 0.55), 1.0),)
    front = opaque(artwork.front(design))
    side = opaque(artwork.side(design))
    top = opaque(artwork.top(design))
    front[:, : max(front.shape[1] // 40, 1), :3] //= 2
    left = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]], float)
    right = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0]], float)
    lid = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]], float)
    base = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], float)
    return (
        Face(pyramid(side), left, 0.62),
        Face(pyramid(side), right, 0.72),
        Face(pyramid(top), lid, 1.10),
        Face(pyramid(top), base, 0.35),
        Face(pyramid(front), _upright(0.0, 0.0), 0.98),
    )


def _upright(low: float, high: float) -> NDArray[np.float64]:
    return np.array([[0, 1, high], [1, 1, high], [1, 0, low], [0, 0, low]], float)


def _bag(design: Design) -> Image:
    """Draw a pillow bag: crimped ends, waisted sides, folds of foil."""
    print_ = artwork.front(design)
    height, width = print_.shape[:2]
    rng = np.random.default_rng([design.layout, 9])
    rows = np.linspace(0, 1, height)
    inset = width * (0.015 + 0.05 * np.abs(np.cos(np.pi * rows)) ** 3)
    columns = np.arange(width)
    inside = (columns[None] > inset[:, None]) & (columns[None] < width - inset[:, None])
    teeth = (np.arange(width) // max(width // 40, 1)) % 2 == 0
    inside[: height // 60 + 1, teeth] = False
    inside[-(height // 60) - 1 :, teeth] = False
    grain = rng.normal(0, 1, (height, width))
    soft = np.asarray(cv2.GaussianBlur(grain, (0, 0), width / 14, None, width / 6), np.float64)
    folds = soft / max(float(np.abs(soft).max()), 1e-6)
    across = (columns / width - 0.42) / 0.58
    light = 1.08 - 0.42 * across[None] ** 2 - 0.18 * (2 * rows[:, None] - 1) ** 4 + 0.22 * folds
    crimp = (rows < 0.055) | (rows > 0.945)
    light[crimp] *= 0.85 + 0.10 * (np.arange(int(crimp.sum())) % 6 < 3)[:, None]
    shine = 45 * np.maximum(folds - 0.35, 0) / 0.65
    colour = np.clip(print_ * light[:, :, None] + shine[:, :, None], 0, 255)
    layer = np.dstack([colour, np.full((height, width), 255.0)]) * inside[:, :, None]
    return np.asarray(layer, np.uint8)
