"""Cut goods and hands out of pictures, and paste them where we then know what is where.

Packshots stand on white, hands of the bottle clip before a still background: both come off with
their outline, so that the box of what was pasted is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.detection import Label
from models.detector_labels import Labelled, Picture

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Cutout:
    """Something to paste.

    picture: (h, w, 3) uint8 BGR. cover: (h, w) uint8, 255 where it is opaque.
    core: (h, w) uint8, the part its box is about: the hand without the sleeve.
    """

    label: Label
    picture: Picture
    cover: Mask
    core: Mask


def from_packshot(picture: Picture) -> Cutout | None:
    """Cut the goods off a white ground; None where there is none."""
    padded = cv2.copyMakeBorder(picture, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    outside = np.zeros((padded.shape[0] + 2, padded.shape[1] + 2), np.uint8)
    flags = 4 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
    cv2.floodFill(padded, outside, (0, 0), (0, 0, 0), (14, 14, 14), (14, 14, 14), flags)
    cover = _cleaned(255 - outside[3:-3, 3:-3], cv2.MORPH_OPEN, 5)
    return _trimmed("product", picture, cover, cover)


def from_rectangle(picture: Picture) -> Cutout:
    """Take a whole picture as one article, with corners a little rounded."""
    cover = np.zeros(picture.shape[:2], np.uint8)
    cover[2:-2, 2:-2] = 255
    return Cutout("product", picture, cover, cover)


def from_moving_hand(
    picture: Picture, still: Picture, hand: Labelled, goods: list[Labelled]
) -> Cutout | None:
    """Cut an arm off a still background.

    still: the same view without anything moving. hand: its box. goods: what it may hold, left out.
    None where hardly anything differs from the background.
    """
    change = cv2.absdiff(picture, still).max(axis=2)
    cover = np.where(change > 28, 255, 0).astype(np.uint8)
    cover = _cleaned(_cleaned(cover, cv2.MORPH_OPEN, 3), cv2.MORPH_CLOSE, 9)
    for each in goods:
        x1, y1, x2, y2 = (int(value) for value in each.box)
        cover[max(0, y1) : y2, max(0, x1 - 4) : x2 + 4] = 0
    x1, y1, x2, y2 = (max(0, int(value)) for value in hand.box)
    count, parts, _, _ = cv2.connectedComponentsWithStats(cover)
    inside = np.bincount(parts[y1:y2, x1:x2].ravel(), minlength=count)
    inside[0] = 0
    best = int(inside.argmax())
    if inside[best] < 0.25 * (y2 - y1) * (x2 - x1):
        return None
    cover = np.where(parts == best, 255, 0).astype(np.uint8)
    core = np.zeros_like(cover)
    core[y1:y2, x1:x2] = cover[y1:y2, x1:x2]
    return _trimmed("hand", picture, cover, core)


def _cleaned(mask: Mask, how: int, reach: int) -> Mask:
    return cv2.morphologyEx(mask, how, np.ones((reach, reach), np.uint8)).astype(np.uint8)


def _trimmed(label: Label, picture: Picture, cover: Mask, core: Mask) -> Cutout | None:
    x, y, width, height = cv2.boundingRect(cover)
    if min(width, height) < 12:
        return None
    part = np.s_[y : y + height, x : x + width]
    return Cutout(label, picture[part], cover[part], core[part])


def varied(cutout: Cutout, height: int, random: Generator) -> Cutout:
    """Return cutout at a height in pixels, turned, mirrored and recoloured a little."""
    mirrored = random.random() < 0.5
    turn = random.normal(0, 25 if cutout.label == "hand" else 7)
    if cutout.label == "hand" and random.random() < 0.3:
        turn += random.choice([90, 180, -90])
    scale = height / cutout.picture.shape[0]
    width = max(8, round(cutout.picture.shape[1] * scale * random.uniform(0.85, 1.15)))
    side = int(np.hypot(width, height)) + 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0)
    matrix[:, 2] += [side / 2 - width / 2, side / 2 - height / 2]

    def placed(layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sized = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
        turned = cv2.warpAffine(sized, matrix, (side, side))
        return (cv2.flip(turned, 1) if mirrored else turned).astype(np.uint8)

    picture = placed(cutout.picture).astype(np.float32)
    tint = random.normal(1.0, 0.10, 3) * random.uniform(0.5, 1.2)
    picture = np.clip(picture * tint, 0, 255)
    return Cutout(cutout.label, picture.astype(np.uint8), placed(cutout.cover), placed(cutout.core))


def paste(scene: Picture, cutout: Cutout, x: int, y: int, seen: list[tuple[Label, Mask]]) -> None:
    """Draw cutout into scene with its top left corner at x, y, before everything in seen.

    seen: what was pasted before and where it still shows; adds this one, and takes away from the
    others what it hides.
    """
    height, width = scene.shape[:2]
    left, top = max(0, x), max(0, y)
    right, bottom = min(width, x + cutout.cover.shape[1]), min(height, y + cutout.cover.shape[0])
    if right <= left or bottom <= top:
        return
    part, own = np.s_[top:bottom, left:right], np.s_[top - y : bottom - y, left - x : right - x]
    soft = cv2.GaussianBlur(cutout.cover, (3, 3), 0)[own].astype(np.float32)[..., None] / 255
    scene[part] = (soft * cutout.picture[own] + (1 - soft) * scene[part]).astype(np.uint8)
    for _, mask in seen:
        mask[part][cutout.cover[own] > 127] = 0
    shown = np.zeros((height, width), np.uint8)
    shown[part] = np.where(cutout.core[own] > 127, 255, 0)
    seen.append((cutout.label, shown))


def boxes_of(seen: list[tuple[Label, Mask]], whole: list[int]) -> list[Labelled]:
    """Return the box of what still shows of each pasted thing, if a fifth of it does.

    whole: the area, in pixels, each had when it was pasted.
    """
    boxes = []
    for (label, mask), area in zip(seen, whole, strict=True):
        if cv2.countNonZero(mask) >= max(40, 0.2 * area):
            x, y, width, height = cv2.boundingRect(mask)
            boxes.append(Labelled(label, (x, y, x + width, y + height)))
    return boxes
