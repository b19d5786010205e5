"""Draw round goods (bottles, cans, jars, toys) as seen from a given elevation.

A lathe turns a profile and wraps a label round it, slice by slice; toys are balls and rings put
together. The result is a sprite: a premultiplied layer, upright, with the point it stands on.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.artwork import label
from edge.simulate.catalogue import Design
from edge.simulate.scene import Image
from edge.simulate.words import Colour, mix

SPRITE_TEXELS = 1200


@dataclass(frozen=True, slots=True)
class Sprite:
    """A standing thing drawn from one elevation at SPRITE_TEXELS pixels a metre.

    layer: (h, w, 4) uint8 premultiplied. foot: pixel (x, y) of the centre of what it stands on.
    rise: pixels between the foot and the centre of its top.
    """

    layer: Image
    foot: tuple[float, float]
    rise: float


@dataclass(frozen=True, slots=True)
class Turned:
    """A lathe's work: radii (N,) metres bottom to top, skin (N, M, 4) colours, opacity included."""

    radii: NDArray[np.float64]
    skin: Image


def turned(design: Design) -> Turned:
    """Return profile and skin of a bottle, can, jar or ring tower."""
    count = max(round(design.height * SPRITE_TEXELS), 8)
    up = np.linspace(0, 1, count)
    radius = design.width / 2
    if design.shape == "bottle":
        slim = 0.36 + 0.02 * (design.layout % 4)
        shoulder = 0.66 + 0.02 * (design.layout % 5)
        cap = slim + 0.08
        knots = ([0, 0.02, 0.05, shoulder, shoulder + 0.14, 0.90, 0.905, 0.995, 1.0],
                 [0.86, 0.97, 1.0, 1.0, slim + 0.04, slim, cap, cap, slim])  # fmt: skip
        return Turned(radius * np.interp(up, *knots), _bottle_skin(design, count, shoulder))
    if design.shape == "jar":
        knots = ([0, 0.03, 0.75, 0.82, 0.83, 0.99, 1.0],
                 [0.93, 1, 1, 0.86, 0.92, 0.92, 0.88])  # fmt: skip
        return Turned(radius * np.interp(up, *knots), _jar_skin(design, count))
    if design.shape == "rings":
        return _rings(design, up, radius)
    knots = ([0, 0.02, 0.04, 0.96, 0.98, 1.0], [0.95, 1.0, 0.97, 0.97, 1.0, 0.95])
    skin = _blank(count, design, (205, 205, 208), 255)
    _wrap(skin, design, 0.05, 0.95)
    return Turned(radius * np.interp(up, *knots), skin)


def _blank(count: int, design: Design, colour: Colour, opacity: int) -> Image:
    around = max(round(np.pi * design.width * SPRITE_TEXELS), 16)
    skin: Image = np.empty((count, around, 4), dtype=np.uint8)
    skin[:] = (*colour, opacity)
    return skin


def _wrap(skin: Image, design: Design, low: float, high: float) -> None:
    count, around = skin.shape[:2]
    first, last = round(low * count), round(high * count)
    skin[first:last, :, :3] = label(design, around, last - first)[::-1]
    skin[first:last, :, 3] = 255


def _bottle_skin(design: Design, count: int, shoulder: float) -> Image:
    milky = design.goods in ("Soap", "Shampoo", "Juice", "Syrup")
    liquid = mix(design.band, (255, 255, 255), 0.1 if milky else 0.4)
    skin = _blank(count, design, liquid, 255 if milky else 225)
    level = round((shoulder + 0.1) * count)
    skin[level : round(0.9 * count)] = (*mix(liquid, (255, 255, 255), 0.4), 185)
    cap = mix(design.ink, design.ground, 0.3)
    skin[round(0.9 * count) :] = (*cap, 255)
    _wrap(skin, design, 0.16, shoulder - 0.04)
    return skin


def _jar_skin(design: Design, count: int) -> Image:
    skin = _blank(count, design, mix(design.band, (20, 30, 60), 0.25), 250)
    skin[round(0.76 * count) : round(0.83 * count)] = (225, 225, 220, 215)
    skin[round(0.82 * count) :] = (*mix(design.ground, design.ink, 0.5), 255)
    _wrap(skin, design, 0.10, 0.68)
    return skin


def _rings(design: Design, up: NDArray[np.float64], radius: float) -> Turned:
    colours = [(60, 60, 220), (50, 160, 245), (60, 210, 250), (90, 180, 70), (190, 110, 50)]
    turn = design.layout % 5
    colours = [design.band, *(colours[turn:] + colours[:turn])]
    place = up * 6
    ring = np.minimum(place.astype(int), 5)
    bulge = np.sqrt(np.maximum(1 - (2 * (place - ring) - 1) ** 2, 0))
    radii = radius * (1.0 - 0.13 * ring) * (0.80 + 0.20 * bulge)
    skin = _blank(len(up), design, (0, 0, 0), 255)
    skin[:, :, :3] = np.array(colours, dtype=np.uint8)[ring][:, None, :]
    return Turned(radii, skin)


def lathe(work: Turned, elevation: float) -> Sprite:
    """Draw a turned thing as seen from an elevation in radians."""
    count, around = work.skin.shape[:2]
    reach = float(work.radii.max()) * SPRITE_TEXELS
    flat, tall = abs(np.sin(elevation)), np.cos(elevation)
    margin = int(reach * flat) + 3
    half = int(reach) + 3
    canvas: Image = np.zeros((int(count * tall) + 2 * margin, 2 * half, 4), dtype=np.uint8)
    columns = np.arange(2 * half) - half + 0.5
    foot_y = canvas.shape[0] - margin
    order = range(count) if elevation >= 0 else range(count - 1, -1, -1)
    for index in order:
        radius = work.radii[index] * SPRITE_TEXELS
        inside = np.nonzero(np.abs(columns) < radius)[0]
        across = columns[inside] / radius
        turn = (0.5 + np.arcsin(across) / (2 * np.pi)) * around
        row = _shaded(work.skin[index, np.clip(turn.astype(int), 0, around - 1)], across)
        bend = flat * np.sqrt(radius**2 - columns[inside] ** 2)
        middle = foot_y - index * tall
        rows = np.arange(int(middle - bend.max()), int(middle + bend.max()) + 2)
        covered = np.abs(rows[:, None] - middle) <= np.maximum(bend, 0.8)[None, :]
        span = canvas[rows[0] : rows[-1] + 1, inside[0] : inside[-1] + 1]
        np.copyto(span, row[None], where=covered[: len(span), :, None])
    _cap(canvas, work, (half, foot_y - (count - 1) * tall), flat, elevation)
    return Sprite(canvas, (float(half), float(foot_y)), count * tall)


def _shaded(row: Image, across: NDArray[np.float64]) -> Image:
    light = 0.50 + 0.55 * np.sqrt(np.maximum(1 - (across + 0.22) ** 2 / 1.5, 0))
    shine = 70 * np.exp(-(((across + 0.45) / 0.07) ** 2)) + 25 * np.exp(
        -(((across - 0.6) / 0.1) ** 2)
    )
    opacity = row[:, 3:4] / 255.0
    colour = np.minimum(row[:, :3] * light[:, None] + shine[:, None], 255) * opacity
    return np.concatenate([colour, row[:, 3:4]], axis=1).astype(np.uint8)


def _cap(
    canvas: Image, work: Turned, centre: tuple[float, float], flat: float, elevation: float
) -> None:
    radius = float(work.radii[-1]) * SPRITE_TEXELS
    if elevation <= 0.02 or radius * flat < 1.5:
        return
    base = work.skin[-1, 0, :3].astype(float)
    colour = [float(c) for c in np.minimum(base * 1.15 + 18, 255)]
    at, axes = (round(centre[0]), round(centre[1])), (round(radius), max(round(radius * flat), 1))
    cv2.ellipse(canvas, at, axes, 0, 0, 360, (*colour, 255), -1, cv2.LINE_AA)
    inner = (round(radius * 0.8), max(round(radius * flat * 0.8), 1))
    darker = [c * 0.88 for c in colour]
    cv2.ellipse(canvas, at, inner, 0, 0, 360, (*darker, 255), 2, cv2.LINE_AA)
