"""Draw toys that are put together from shaded ellipsoids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.simulate.catalogue import Design
from edge.simulate.round_goods import SPRITE_TEXELS, Sprite
from edge.simulate.scene import Image
from edge.simulate.words import Colour, mix

BLACK: Colour = (25, 22, 22)
ORANGE: Colour = (30, 120, 245)


@dataclass(frozen=True, slots=True)
class Lump:
    """An ellipsoid: centre (x, y up, z to the viewer) and half axes, in shares of the height."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    colour: Colour


def lumps(design: Design) -> list[Lump]:
    """Return what a toy consists of."""
    main, second = design.band, mix(design.ground, (255, 255, 255), 0.25)
    if design.shape == "duck":
        return [
            Lump((0.0, 0.30, 0.0), (0.46, 0.30, 0.32), main),
            Lump((-0.36, 0.42, 0.0), (0.16, 0.14, 0.16), main),
            Lump((0.12, 0.72, 0.06), (0.26, 0.26, 0.25), main),
            Lump((0.24, 0.66, 0.27), (0.15, 0.07, 0.14), ORANGE),
            Lump((0.06, 0.80, 0.28), (0.05, 0.06, 0.04), BLACK),
            Lump((0.25, 0.80, 0.25), (0.05, 0.06, 0.04), BLACK),
            Lump((-0.08, 0.34, 0.27), (0.20, 0.13, 0.10), mix(main, (0, 0, 0), 0.15)),
        ]
    if design.shape == "bear":
        return _bear(main, second)
    if design.shape == "robot":
        return _robot(main, second)
    return [
        Lump((0.0, 0.5, 0.0), (0.5, 0.5, 0.5), main),
        Lump((0.0, 0.5, 0.02), (0.16, 0.495, 0.485), second),
        Lump((0.0, 0.72, 0.30), (0.20, 0.12, 0.14), design.ground),
    ]


def _bear(fur: Colour, shirt: Colour) -> list[Lump]:
    pale = mix(fur, (220, 235, 245), 0.6)
    pairs = [
        Lump((side * at[0], at[1], at[2]), axes, colour)
        for side in (-1, 1)
        for at, axes, colour in (
            ((0.18, 0.10, 0.10), (0.13, 0.10, 0.16), fur),
            ((0.27, 0.42, 0.06), (0.09, 0.17, 0.10), fur),
            ((0.18, 0.91, 0.0), (0.09, 0.09, 0.05), fur),
            ((0.18, 0.91, 0.04), (0.05, 0.05, 0.03), pale),
            ((0.09, 0.79, 0.20), (0.028, 0.032, 0.03), BLACK),
            ((0.18, 0.08, 0.25), (0.07, 0.06, 0.03), pale),
        )
    ]
    return [
        Lump((0.0, 0.36, 0.0), (0.25, 0.28, 0.20), shirt),
        Lump((0.0, 0.74, 0.03), (0.24, 0.21, 0.19), fur),
        Lump((0.0, 0.68, 0.19), (0.11, 0.085, 0.07), pale),
        Lump((0.0, 0.72, 0.26), (0.04, 0.03, 0.03), BLACK),
        *pairs,
    ]


def _robot(main: Colour, second: Colour) -> list[Lump]:
    pairs = [
        Lump((side * at[0], at[1], at[2]), axes, colour)
        for side in (-1, 1)
        for at, axes, colour in (
            ((0.12, 0.10, 0.04), (0.09, 0.12, 0.13), second),
            ((0.28, 0.42, 0.0), (0.06, 0.18, 0.08), second),
            ((0.28, 0.26, 0.05), (0.08, 0.07, 0.08), main),
            ((0.09, 0.79, 0.18), (0.055, 0.055, 0.04), (80, 240, 250)),
        )
    ]
    return [
        Lump((0.0, 0.40, 0.0), (0.24, 0.25, 0.18), main),
        Lump((0.0, 0.42, 0.15), (0.13, 0.12, 0.06), second),
        Lump((0.0, 0.77, 0.0), (0.21, 0.15, 0.18), mix(main, (255, 255, 255), 0.3)),
        Lump((0.0, 0.95, 0.0), (0.02, 0.07, 0.02), BLACK),
        *pairs,
    ]


def toy(design: Design, elevation: float) -> Sprite:
    """Draw a toy as seen from an elevation in radians."""
    size = design.height * SPRITE_TEXELS
    margin = round(size * 0.4)
    half = round(max(design.width * SPRITE_TEXELS * 0.62, size * 0.55))
    shape = (round(size * np.cos(elevation)) + 2 * margin, 2 * half)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    reach = max(abs(lump.centre[0]) + lump.axes[0] for lump in lumps(design))
    x = (columns - half) * 2 * reach / (design.width * SPRITE_TEXELS)
    y = (shape[0] - margin - rows) / size
    nearest = np.full(shape, -np.inf)
    canvas: Image = np.zeros((*shape, 4), dtype=np.uint8)
    for lump in lumps(design):
        _draw(canvas, nearest, lump, x, y, elevation)
    return Sprite(canvas, (float(half), float(shape[0] - margin)), size * float(np.cos(elevation)))


def _draw(
    canvas: Image, nearest: NDArray[np.float64], lump: Lump,
    x: NDArray[np.float64], y: NDArray[np.float64], elevation: float,
) -> None:  # fmt: skip
    sine, cosine = np.sin(elevation), np.cos(elevation)
    _, b, c = lump.axes
    centre_y = lump.centre[1] * cosine - lump.centre[2] * sine
    centre_z = lump.centre[2] * cosine + lump.centre[1] * sine
    half_y = np.hypot(b * cosine, c * sine)
    half_z = np.hypot(c * cosine, b * sine)
    across, up = (x - lump.centre[0]) / lump.axes[0], (y - centre_y) / half_y
    left = 1 - across**2 - up**2
    out = np.sqrt(np.maximum(left, 0))
    depth = centre_z + half_z * out
    seen = (left > 0) & (depth > nearest)
    nearest[seen] = depth[seen]
    light = 0.48 + 0.30 * out + 0.24 * up - 0.10 * across
    shine = 110 * np.maximum(1 - ((across + 0.35) ** 2 + (up - 0.45) ** 2) / 0.05, 0)
    colour = np.array(lump.colour) * np.clip(light, 0.25, 1.1)[:, :, None] + shine[:, :, None]
    canvas[seen, :3] = np.clip(colour, 0, 255).astype(np.uint8)[seen]
    canvas[seen, 3] = 255
