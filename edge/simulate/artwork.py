"""Draw the printed surfaces of packages: fronts, sides, tops and labels.

All pictures are (h, w, 3) uint8 BGR, at TEXELS pixels a metre.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.catalogue import Design
from edge.simulate.scene import Image
from edge.simulate.words import Colour, ink_on, mix

TEXELS = 1500


def front(design: Design) -> Image:
    """Draw a package's front."""
    width, height = round(design.width * TEXELS), round(design.height * TEXELS)
    rng = np.random.default_rng([design.layout, 3])
    picture = _ground(design, width, height, rng)
    style = int(rng.integers(4))
    band = _band(height, width, style, rng)
    motif_y = 0.60 if band[1] < height * 0.5 else 0.53
    _motif(picture, design, (width // 2, round(height * motif_y)), rng)
    _flavour_band(picture, design, band, style)
    _logo(picture, design, round(height * float(rng.uniform(0.13, 0.20))), rng)
    _small_print(picture, design, rng, 0.315 if style != 2 else 0.72)
    return picture


def label(design: Design, width: int, height: int) -> Image:
    """Draw the label that goes round a bottle, can or jar, (height, width); front in the middle."""
    rng = np.random.default_rng([design.layout, 5])
    picture = _ground(design, width, height, rng)
    middle = width // 2
    half = max(width // 4, 8)
    face = picture[:, middle - half : middle + half]
    rows = (round(height * 0.60), round(height * 0.88))
    _motif(face, design, (half, round(height * 0.52)), rng, size=0.20)
    cv2.rectangle(picture, (0, rows[0]), (width, rows[1]), design.band, -1)
    write(face, design.flavour, (half, (rows[0] + rows[1]) // 2), 0.8 * 2 * half,
          (rows[1] - rows[0]) * 0.62, ink_on(design.band))  # fmt: skip
    _logo(face, design, round(height * 0.24), rng)
    for edge in (0, height - max(height // 28, 2)):
        cv2.rectangle(picture, (0, edge), (width, edge + max(height // 28, 2)), design.ink, -1)
    return picture


def side(design: Design) -> Image:
    """Draw a package's side: its ground, the brand upright, nutrition lines and a bar code."""
    width, height = round(design.depth * TEXELS), round(design.height * TEXELS)
    rng = np.random.default_rng([design.layout, 7])
    picture = _ground(design, width, height, rng)
    cv2.rectangle(picture, (0, round(height * 0.86)), (width, height), design.band, -1)
    upright: Image = np.ascontiguousarray(picture[: height // 2].transpose(1, 0, 2)[:, ::-1])
    write(upright, design.brand, (upright.shape[1] // 2, width // 2), upright.shape[1] * 0.8,
          width * 0.4, design.ink)  # fmt: skip
    picture[: height // 2] = upright[:, ::-1].transpose(1, 0, 2)
    for y in range(round(height * 0.55), round(height * 0.8), max(height // 40, 3)):
        cv2.line(picture, (width // 8, y), (width * 7 // 8, y), ink_on(design.ground), 1)
    return picture


def top(design: Design) -> Image:
    """Draw a package's top: ground, a fold and the flavour's colour."""
    width, depth = round(design.width * TEXELS), round(design.depth * TEXELS)
    picture: Image = np.empty((depth, width, 3), dtype=np.uint8)
    picture[:] = mix(design.ground, (255, 255, 255), 0.08)
    cv2.rectangle(picture, (0, depth * 3 // 5), (width, depth), design.band, -1)
    cv2.line(picture, (0, depth // 2), (width, depth // 2), mix(design.ground, (0, 0, 0), 0.3), 2)
    return picture


def write(
    picture: Image, text: str, centre: tuple[int, int], width: float, height: float, ink: Colour,
    face: str = "sans", weight: int = 700,
) -> None:  # fmt: skip
    """Write text centred at a point, as large as fits in width and height (pixels)."""
    if not text or min(width, height) < 5:
        return
    font = cv2.FontFace(face)
    size = max(int(height * 1.15), 5)
    box = _extent(text, font, size, weight)
    if box[2] > width:
        size = max(int(size * width / box[2]), 5)
        box = _extent(text, font, size, weight)
    start = (round(centre[0] - box[2] / 2 - box[0]), round(centre[1] - box[1] - box[3] / 2))
    ground = np.ascontiguousarray(picture)
    cv2.putText(ground, text, start, ink, font, size, weight)
    picture[...] = ground


def _extent(text: str, font: Any, size: int, weight: int) -> tuple[int, int, int, int]:
    box = cv2.getTextSize((4000, 4000), text, (0, 0), font, size, weight)
    return (int(box[0]), int(box[1]), int(box[2]), int(box[3]))


def _ground(design: Design, width: int, height: int, rng: np.random.Generator) -> Image:
    kind = int(rng.integers(5))
    steps = np.linspace(0, 1, height)[:, None, None]
    light = np.array(mix(design.ground, (255, 255, 255), 0.22), dtype=np.float64)
    dark = np.array(mix(design.ground, (0, 0, 0), 0.16), dtype=np.float64)
    picture: Image = np.repeat(light + (dark - light) * steps, width, axis=1).astype(np.uint8)
    accent = mix(design.ground, design.ink, 0.22)
    if kind == 1:
        for y in range(height // 3, height, max(height // 9, 4)):
            cv2.line(picture, (0, y), (width, y - width // 3), accent, max(height // 36, 1))
    elif kind == 2:
        lower = np.array(
            [[0, height], [0, height * 0.55], [width, height * 0.4], [width, height]], np.int32
        )
        cv2.fillPoly(picture, [lower], mix(design.ground, design.ink, 0.45), cv2.LINE_AA)
    elif kind == 3:
        for _ in range(26):
            at = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(
                picture, at, int(rng.integers(3, max(width // 14, 4))), accent, -1, cv2.LINE_AA
            )
    elif kind == 4:
        for index in range(-4, 12):
            x = index * width // 7
            cv2.line(picture, (x, height), (width // 2, height // 3), accent, max(width // 30, 1))
    return picture


def _band(
    height: int, width: int, style: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    tall = float(rng.uniform(0.13, 0.19))
    start = float(rng.uniform(0.70, 0.76)) if style != 2 else float(rng.uniform(0.27, 0.31))
    return (0, round(height * start), width, round(height * (start + tall)))


def _flavour_band(
    picture: Image, design: Design, band: tuple[int, int, int, int], style: int
) -> None:
    x1, y1, x2, y2 = band
    ink = ink_on(design.band)
    if style == 1:
        corners = np.array(
            [[x1, y1 + (y2 - y1) // 3], [x2, y1], [x2, y2 - (y2 - y1) // 3], [x1, y2]]
        )
        cv2.fillPoly(picture, [corners.astype(np.int32)], design.band, cv2.LINE_AA)
    elif style == 3:
        middle = ((x1 + x2) // 2, (y1 + y2) // 2)
        axes = (round((x2 - x1) * 0.44), (y2 - y1) // 2)
        cv2.ellipse(picture, middle, axes, 0, 0, 360, design.band, -1, cv2.LINE_AA)
        cv2.ellipse(picture, middle, axes, 0, 0, 360, ink, 2, cv2.LINE_AA)
    else:
        cv2.rectangle(picture, (x1, y1), (x2, y2), design.band, -1)
        cv2.line(picture, (x1, y1), (x2, y1), ink, max((y2 - y1) // 14, 1))
    middle = ((x1 + x2) // 2, (y1 + y2) // 2)
    write(picture, design.flavour, middle, (x2 - x1) * 0.74, (y2 - y1) * 0.58, ink)


def _logo(picture: Image, design: Design, y: int, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    kind = int(rng.integers(4))
    size = (round(width * 0.84), max(round(height * 0.13), 12))
    plate = design.ink
    ground = np.ascontiguousarray(picture)
    if kind == 0:
        cv2.ellipse(ground, (width // 2, y), (size[0] // 2, size[1] * 3 // 5), 0, 0, 360, plate, -1,
                    cv2.LINE_AA)  # fmt: skip
    elif kind == 1:
        cv2.rectangle(ground, (0, y - size[1] // 2), (width, y + size[1] // 2), plate, -1)
    elif kind == 2:
        left, right = (width - size[0]) // 2, (width + size[0]) // 2
        shield = np.array([[left, y - size[1] // 2], [right, y - size[1] // 2],
                           [right - size[1] // 3, y + size[1] // 2],
                           [left + size[1] // 3, y + size[1] // 2]], np.int32)  # fmt: skip
        cv2.fillPoly(ground, [shield], plate, cv2.LINE_AA)
    picture[...] = ground
    ink = ink_on(plate) if kind < 3 else design.ink
    face = "italic" if rng.random() < 0.4 else "sans"
    write(picture, design.brand, (width // 2, y), size[0] * 0.76, size[1] * 0.72, ink, face, 800)


def _motif(
    picture: Image, design: Design, centre: tuple[int, int], rng: np.random.Generator,
    size: float = 0.24,
) -> None:  # fmt: skip
    height, width = picture.shape[:2]
    radius = max(round(min(width * size, height * 0.135)), 5)
    ground = np.ascontiguousarray(picture)
    leaf: Colour = (60, 140, 70)
    body = mix(design.ink, (90, 170, 230), 0.45)
    kind = int(rng.integers(5))
    if kind == 0:
        for _ in range(7):
            shift = rng.normal(0, radius * 0.5, 2)
            at = (round(centre[0] + shift[0]), round(centre[1] + shift[1] * 0.7))
            _ball(ground, at, radius // 2, body)
    elif kind == 1:
        _ball(ground, centre, radius, body)
        tip = (centre[0] + radius // 3, centre[1] - radius)
        cv2.ellipse(ground, tip, (radius // 2, radius // 5), -30, 0, 360, leaf, -1, cv2.LINE_AA)
    elif kind == 2:
        cv2.ellipse(ground, centre, (radius, radius // 2), 0, 0, 180, design.ink, -1, cv2.LINE_AA)
        for _ in range(14):
            at = (round(centre[0] + float(rng.uniform(-0.8, 0.8)) * radius),
                  round(centre[1] - float(rng.uniform(0, 0.35)) * radius))  # fmt: skip
            _ball(ground, at, max(radius // 6, 2), body)
    elif kind == 3:
        for turn in range(0, 360, 45):
            cv2.ellipse(ground, centre, (radius, radius // 5), turn, 0, 90, body, -1, cv2.LINE_AA)
        _ball(ground, centre, radius // 2, design.ink)
    else:
        hills = np.array([[0, centre[1] + radius], [width // 4, centre[1] - radius // 2],
                          [width // 2, centre[1] + radius // 3],
                          [width * 3 // 4, centre[1] - radius], [width, centre[1] + radius]],
                         np.int32)  # fmt: skip
        cv2.fillPoly(ground, [hills], body, cv2.LINE_AA)
        _ball(ground, (width // 2, centre[1] - radius // 2), radius // 3, (70, 200, 250))
    picture[...] = ground


def _ball(picture: NDArray[Any], centre: tuple[int, int], radius: int, colour: Colour) -> None:
    cv2.circle(picture, centre, radius, mix(colour, (0, 0, 0), 0.25), -1, cv2.LINE_AA)
    inner = (centre[0] - radius // 8, centre[1] - radius // 8)
    cv2.circle(picture, inner, max(radius * 4 // 5, 1), colour, -1, cv2.LINE_AA)
    shine = (centre[0] - radius // 3, centre[1] - radius // 3)
    cv2.circle(
        picture, shine, max(radius // 5, 1), mix(colour, (255, 255, 255), 0.7), -1, cv2.LINE_AA
    )


def _small_print(picture: Image, design: Design, rng: np.random.Generator, goods_at: float) -> None:
    height, width = picture.shape[:2]
    grams = f"{int(rng.integers(2, 20)) * 50} g"
    ink = ink_on(design.ground)
    middle = (width // 2, round(height * goods_at))
    write(picture, design.goods, middle, width * 0.66, height * 0.055, ink)
    write(picture, grams, (width // 2, round(height * 0.95)), width * 0.4, height * 0.04, ink,
          weight=500)  # fmt: skip
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), mix(design.ground, (0, 0, 0), 0.35), 2)
