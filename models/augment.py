"""What cameras, shelves and hands do to a picture of a product.

The whitening learns from these what does not tell products apart, enrolment makes anchors of the
mild ones, and the calibration asks with the harsh ones. Pure: a picture and a random generator in,
a picture out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Harshness:
    """How far a picture may be changed.

    shift: a crop's edges move by up to this share of the side, in or out.
    light: brightness is scaled by 1 - light to 1 + light / 2.
    tint: each colour channel is scaled by 1 - tint to 1 + tint.
    smallest: the longer side may shrink to this many pixels before it is enlarged again.
    noise: greatest standard deviation of sensor noise, in grey levels.
    blur: greatest length of a motion blur, as a share of the side.
    mirrored: whether half the pictures are mirrored.
    """

    shift: float
    light: float
    tint: float
    smallest: int
    noise: float
    blur: float
    mirrored: bool


MILD = Harshness(
    shift=0.07, light=0.25, tint=0.04, smallest=64, noise=14.0, blur=0.03, mirrored=True
)
HARSH = Harshness(
    shift=0.12, light=0.5, tint=0.08, smallest=56, noise=14.0, blur=0.08, mirrored=True
)


def changed(picture: Picture, harshness: Harshness, random: np.random.Generator) -> Picture:
    """Return another view of a picture, (h, w, 3) uint8 BGR, as a camera might have taken it."""
    view = _jittered(picture, harshness.shift, random)
    if harshness.mirrored and random.random() < 0.5:
        view = view[:, ::-1]
    view = _lit(view, harshness, random)
    view = _shrunk(view, harshness.smallest, random)
    view = _blurred(view, harshness.blur, random)
    if random.random() < 0.5:
        noise = random.normal(0.0, random.uniform(0.0, harshness.noise), view.shape)
        view = np.clip(view + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        view = _recompressed(view, int(random.integers(25, 80)))
    return np.ascontiguousarray(view)


def _jittered(picture: Picture, shift: float, random: np.random.Generator) -> Picture:
    """Move the four edges: inward cuts, outward repeats what stands at the edge."""
    height, width = picture.shape[:2]
    left, right = (random.uniform(-shift, shift, 2) * width).round().astype(int)
    top, bottom = (random.uniform(-shift, shift, 2) * height).round().astype(int)
    above, below, before, after = (max(0, -int(edge)) for edge in (top, bottom, left, right))
    padded = cv2.copyMakeBorder(picture, above, below, before, after, cv2.BORDER_REFLECT_101)
    y1, x1 = max(0, int(top)), max(0, int(left))
    y2, x2 = padded.shape[0] - max(0, int(bottom)), padded.shape[1] - max(0, int(right))
    if y2 - y1 < 2 or x2 - x1 < 2:
        return picture
    return np.asarray(padded[y1:y2, x1:x2], np.uint8)


def _lit(picture: Picture, harshness: Harshness, random: np.random.Generator) -> Picture:
    gain = random.uniform(1.0 - harshness.light, 1.0 + harshness.light / 2)
    tint = random.uniform(1.0 - harshness.tint, 1.0 + harshness.tint, 3)
    return np.clip(picture * (gain * tint), 0, 255).astype(np.uint8)


def _shrunk(picture: Picture, smallest: int, random: np.random.Generator) -> Picture:
    longer = max(picture.shape[:2])
    if longer <= smallest:
        return picture
    scale = np.exp(random.uniform(np.log(smallest / longer), 0.0))
    size = [max(2, round(side * scale)) for side in (picture.shape[1], picture.shape[0])]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _blurred(picture: Picture, blur: float, random: np.random.Generator) -> Picture:
    length = round(random.uniform(0.0, blur) * max(picture.shape[:2]))
    if length < 2 or random.random() < 0.5:
        return picture
    angle = random.uniform(0.0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    start, end = np.rint(middle - reach).astype(int), np.rint(middle + reach).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.uint8)


def _recompressed(picture: Picture, quality: int) -> Picture:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
