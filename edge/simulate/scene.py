"""The camera and the picture operations everything drawn goes through.

World: metres, x to the right, y up, z away from the shopper into the shelf; the shelf's front line
is z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Point = NDArray[np.float64]

NEAREST_M = 0.12


def point(x: float, y: float, z: float) -> Point:
    """Return a world point, (3,) float64 metres."""
    return np.array([x, y, z], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera: (width, height) pixels, focal length in pixels, pose in the world.

    position: (3,) metres. axes: (3, 3), rows are the camera's right, down and forward.
    """

    width: int
    height: int
    focal: float
    position: Point
    axes: NDArray[np.float64]

    @classmethod
    def looking(
        cls, size: tuple[int, int], position: Point, target: Point, field_deg: float
    ) -> Camera:
        """Return a camera at position that looks at target, with this horizontal field of view."""
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(point(0, 1, 0), forward)
        right /= np.linalg.norm(right)
        down = -np.cross(forward, right)
        focal = size[0] / 2 / np.tan(np.radians(field_deg) / 2)
        return cls(size[0], size[1], float(focal), position, np.stack([right, down, forward]))

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project (N, 3) world points to (N, 3): pixel x, pixel y and distance along the axis."""
        seen = (np.atleast_2d(points) - self.position) @ self.axes.T
        distance = np.maximum(seen[:, 2], NEAREST_M)
        centre = (self.width / 2, self.height / 2)
        x = centre[0] + self.focal * seen[:, 0] / distance
        y = centre[1] + self.focal * seen[:, 1] / distance
        return np.stack([x, y, distance], axis=1)

    def scale(self, where: Point) -> float:
        """Pixels a metre covers at a world point."""
        return self.focal / float(self.project(where)[0, 2])

    def elevation(self, where: Point) -> float:
        """Angle in radians under which a world point is seen from above (negative: from below)."""
        away = self.position - where
        return float(np.arctan2(away[1], np.hypot(away[0], away[2])))


@dataclass(frozen=True, slots=True)
class Patch:
    """A piece of picture ready to lie over another: (x, y) is its top left corner in the frame.

    colour: (h, w, 3) uint8 premultiplied; keep: (h, w, 3) uint8, what remains of the ground;
    alpha: (h, w) uint8 without shadows.
    """

    x: int
    y: int
    colour: Image
    keep: Image
    alpha: Image


def patch_of(layer: Image, x: int, y: int, shade: float = 1.0) -> Patch:
    """Make a patch from a (h, w, 4) uint8 premultiplied layer."""
    alpha = np.ascontiguousarray(layer[:, :, 3])
    colour = np.ascontiguousarray(layer[:, :, :3])
    if shade != 1.0:
        colour = _u8(cv2.convertScaleAbs(colour, alpha=shade))
    keep = cv2.merge([255 - alpha] * 3)
    return Patch(x, y, colour, _u8(keep), alpha)


def _u8(image: Any) -> Image:
    return np.asarray(image, dtype=np.uint8)


def lay(canvas: Image, patch: Patch, visible: NDArray[np.bool_] | None = None) -> None:
    """Lay a patch over the canvas in place, clipped to it.

    visible: (h, w) of the patch, False where something nearer hides it.
    """
    height, width = patch.alpha.shape
    x1, y1 = max(patch.x, 0), max(patch.y, 0)
    x2, y2 = min(patch.x + width, canvas.shape[1]), min(patch.y + height, canvas.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    cut = (slice(y1 - patch.y, y2 - patch.y), slice(x1 - patch.x, x2 - patch.x))
    ground = canvas[y1:y2, x1:x2]
    laid = cv2.add(cv2.multiply(ground, patch.keep[cut], scale=1 / 255), patch.colour[cut])
    if visible is None:
        ground[...] = laid
    else:
        np.copyto(ground, _u8(laid), where=visible[cut][:, :, None])


def window(patch: Patch, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns of a picture of this shape that a patch covers, None where none."""
    height, width = patch.alpha.shape
    x1, y1 = max(patch.x, 0), max(patch.y, 0)
    x2, y2 = min(patch.x + width, shape[1]), min(patch.y + height, shape[0])
    return (slice(y1, y2), slice(x1, x2)) if x1 < x2 and y1 < y2 else None


def warp_quad(texture: Image, corners: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """Warp a (h, w, 4) premultiplied texture onto a quadrilateral.

    corners: (4, 2) pixels, in the texture's order top left, top right, bottom right, bottom left.
    size: (width, height) of the result. Returns (height, width, 4) uint8 premultiplied.
    """
    height, width = texture.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(source - 0.5, corners.astype(np.float32) - 0.5)
    return _u8(cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR))


def over(upper: Image, lower: Image) -> Image:
    """Compose two (h, w, 4) premultiplied layers of one size, upper over lower."""
    keep = 255 - upper[:, :, 3]
    return _u8(cv2.add(upper, cv2.multiply(lower, cv2.merge([keep] * 4), scale=1 / 255)))


def opaque(picture: Image) -> Image:
    """Return a BGR picture as a premultiplied layer without transparency."""
    return _u8(cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA))


def pyramid(layer: Image) -> tuple[Image, ...]:
    """Return a layer and its halved copies, largest first, so that warping does not alias."""
    levels = [layer]
    while min(levels[-1].shape[:2]) > 16 and len(levels) < 6:
        size = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
        levels.append(_u8(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA)))
    return tuple(levels)


def level_for(levels: tuple[Image, ...], height_px: float) -> Image:
    """Return the smallest level of a pyramid that is at least as high as height_px."""
    fitting = [level for level in levels if level.shape[0] >= height_px * 0.9]
    return fitting[-1] if fitting else levels[0]
