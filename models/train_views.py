"""Pictures as shelves and hands make them: what training looks at.

Beyond what `models.augment` does to a picture: cut out more closely, turned, hidden in part by a
hand or by another product, in another contrast, before another background. Some views are harsher
than any one camera; with nothing but those a network learns too little of what products look like.
Pure.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.augment import HARSH, changed

Picture = NDArray[np.uint8]

_CUT = 0.7
_SMALLEST_PART = 0.4
_TURNED = 0.5
_MOST_DEGREES = 25.0
_CONTRAST = 0.3
_HIDDEN = 0.35
_HIDDEN_BY_GOODS = 0.6
_LEAST_KEPT = 0.4
_SOFT = 0.15
_OUT_OF_FOCUS = (0.03, 0.12)
"""Standard deviation of the blur behind, as a share of the longer side."""

_SKIN = np.array([[120, 150, 200], [90, 120, 180], [60, 80, 130], [40, 50, 80]])
"""Colours of hands, BGR."""


def shelf_view(
    picture: Picture,
    other: Picture,
    random: np.random.Generator,
    *,
    harsh: float,
    backgrounds: float = 0.0,
) -> Picture:
    """Return another view of a picture, (h, w, 3) uint8 BGR.

    other: a picture of something else, which may stand in front or behind. harsh, backgrounds: how
    probable a harsh view and one before another background are, from 0 to 1.
    """
    if backgrounds and random.random() < backgrounds:
        picture = _elsewhere(picture, other, random)
    is_harsh = random.random() < harsh
    often = 1.0 if is_harsh else 0.5
    if random.random() < _CUT:
        picture = _cut(picture, random)
    if not is_harsh and random.random() < 0.5:
        picture = np.ascontiguousarray(picture[:, ::-1])
    if random.random() < often * _TURNED:
        picture = _turned(picture, random)
    picture = _seen_badly(picture, random) if is_harsh else _coloured(picture, random)
    return _hidden(picture, other, random) if random.random() < often * _HIDDEN else picture


def _elsewhere(picture: Picture, other: Picture, random: np.random.Generator) -> Picture:
    """Put the middle of a picture, where the product is, before something else.

    What is behind is out of focus, for a view shows one product and the label names it.
    """
    height, width = picture.shape[:2]
    behind = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
    blur = random.uniform(*_OUT_OF_FOCUS) * max(height, width)
    behind = cv2.GaussianBlur(behind, (0, 0), blur, borderType=cv2.BORDER_REFLECT_101)
    kept = np.sqrt(random.uniform(_LEAST_KEPT, 1.0, 2))
    down = np.abs(np.linspace(-1, 1, height))[:, None] / kept[0]
    across = np.abs(np.linspace(-1, 1, width))[None] / kept[1]
    # A rounded rectangle: 1 inside, 0 outside, soft between.
    inside = np.clip((1.0 - (down**4 + across**4) ** 0.25) / _SOFT + 0.5, 0, 1)[:, :, None]
    return np.asarray(np.rint(inside * picture + (1.0 - inside) * behind), np.uint8)


def _coloured(picture: Picture, random: np.random.Generator) -> Picture:
    """Change brightness, contrast, saturation and tint a little."""
    view = np.float32(random.uniform(0.7, 1.3)) * picture
    mean = view.mean()
    view = (view - mean) * random.uniform(0.7, 1.3) + mean
    grey = view.mean(axis=2, keepdims=True)
    view = grey + (view - grey) * random.uniform(0.7, 1.3)
    tint = random.uniform(0.94, 1.06, 3).astype(np.float32)
    return np.asarray(np.clip(view * tint, 0, 255), np.uint8)


def _seen_badly(picture: Picture, random: np.random.Generator) -> Picture:
    """Change a picture as a bad camera would, in another contrast at times."""
    picture = changed(picture, HARSH, random)
    if random.random() < _CONTRAST:
        curve = 255.0 * (np.arange(256) / 255.0) ** random.uniform(0.7, 1.5)
        picture = np.asarray(cv2.LUT(picture, np.clip(curve, 0, 255).astype(np.uint8)), np.uint8)
    return picture


def _cut(picture: Picture, random: np.random.Generator) -> Picture:
    """Cut out a part, of other proportions."""
    height, width = picture.shape[:2]
    side, shape = np.sqrt(random.uniform(_SMALLEST_PART, 1.0)), np.exp(random.uniform(-0.12, 0.12))
    tall = min(height, max(2, int(height * side * shape)))
    wide = min(width, max(2, int(width * side / shape)))
    top = int(random.integers(0, height - tall + 1))
    left = int(random.integers(0, width - wide + 1))
    return picture[top : top + tall, left : left + wide]


def _turned(picture: Picture, random: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    angle, scale = random.uniform(-_MOST_DEGREES, _MOST_DEGREES), random.uniform(0.9, 1.15)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    found = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found, np.uint8)


def _hidden(picture: Picture, other: Picture, random: np.random.Generator) -> Picture:
    """Lay a piece of something else, or a finger, over a part of the picture."""
    picture = picture.copy()
    height, width = picture.shape[:2]
    tall, wide = (max(1, int(s * random.uniform(0.15, 0.45))) for s in (height, width))
    top = int(random.integers(0, height - tall + 1))
    left = int(random.integers(0, width - wide + 1))
    if random.random() < _HIDDEN_BY_GOODS:
        piece = other[: max(1, other.shape[0] // 2), : max(1, other.shape[1] // 2)]
        picture[top : top + tall, left : left + wide] = cv2.resize(piece, (wide, tall))
        return picture
    skin = (_SKIN[random.integers(len(_SKIN))] * random.uniform(0.8, 1.2)).tolist()
    start, end = (left, top), (left + wide, top + tall)
    if random.random() < 0.5:
        start, end = (left + wide, top), (left, top + tall)
    cv2.line(picture, start, end, skin, max(2, min(tall, wide) // 2), cv2.LINE_AA)
    return picture
