"""Draw people: hands, arms in sleeves, and bodies from behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.scene import Camera, Image, Point, point
from edge.simulate.words import Colour, mix

SKINS: tuple[Colour, ...] = (
    (185, 205, 240), (150, 185, 230), (120, 160, 215), (85, 125, 185), (60, 90, 145), (45, 62, 95),
)  # fmt: skip
CLOTHS: tuple[Colour, ...] = (
    (60, 55, 50), (130, 70, 35), (50, 45, 170), (80, 120, 60), (200, 200, 205), (60, 140, 190),
    (150, 110, 90), (110, 50, 90), (40, 90, 120), (180, 160, 60), (90, 90, 95), (225, 225, 230),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (25, 25, 30), (30, 42, 62), (45, 70, 105), (110, 165, 200), (150, 150, 155), (28, 34, 48),
)  # fmt: skip
HAND_TEXELS = 1600
HAND_CENTRE = (200, 150)
WRIST_M, ELBOW_M, SHOULDER_M = 0.027, 0.043, 0.056


@dataclass(frozen=True, slots=True)
class Looks:
    """How a person looks. sleeve: share of the arm that is covered, from the shoulder."""

    skin: Colour
    cloth: Colour
    hair: Colour
    sleeve: float
    striped: bool


def looks_of(seed: int, person: int) -> Looks:
    """Return a person's looks by number."""
    rng = np.random.default_rng([seed, 51, person])
    sleeve = float(rng.choice([0.35, 0.72, 0.88, 0.97]))
    return Looks(
        SKINS[int(rng.integers(len(SKINS)))], CLOTHS[int(rng.integers(len(CLOTHS)))],
        HAIRS[int(rng.integers(len(HAIRS)))], sleeve, bool(rng.random() < 0.25),
    )  # fmt: skip


def hand_sprite(skin: Colour, closed: bool) -> Image:
    """Draw the back of a right hand, fingers up, (400, 400, 4) uint8 premultiplied."""
    layer: Image = np.zeros((400, 400, 4), dtype=np.uint8)
    dark = mix(skin, (20, 15, 30), 0.42)
    shade = mix(skin, (30, 25, 60), 0.16)
    fingers = ((-48, 0.86), (-17, 1.0), (15, 0.95), (45, 0.76))
    for x, length in fingers:
        reach = (78 if closed else 122) * length
        spread = x * (1.10 if closed else 1.32)
        knuckle = (200 + x, 152 - 8 * (1 - abs(x) / 60))
        middle = (200 + (x + spread) / 2, knuckle[1] - reach * 0.55)
        tip = (200 + spread, knuckle[1] - reach)
        for start, stop, wide in ((knuckle, middle, 17.0), (middle, tip, 14.0)):
            _limb(layer, start, stop, wide, dark)
        for start, stop, wide in ((knuckle, middle, 14.0), (middle, tip, 11.5)):
            _limb(layer, start, stop, wide, skin)
        nail = (tip[0], tip[1] + 1)
        cv2.ellipse(
            layer, _at(nail), (6, 8), 0, 0, 360, (*mix(skin, (235, 225, 255), 0.5), 255), -1
        )
        crease = (_at((middle[0] - 8, middle[1])), _at((middle[0] + 8, middle[1])))
        cv2.line(layer, *crease, (*shade, 255), 3, cv2.LINE_AA)
    palm = np.array([[136, 150], [146, 128], [200, 122], [252, 132], [260, 158], [250, 230],
                     [240, 300], [242, 400], [160, 400], [162, 300], [140, 220]],
                    np.int32)  # fmt: skip
    thumb = ((148, 232), (102, 178), (112, 122)) if closed else ((148, 232), (92, 190), (72, 134))
    for start, stop, wide in ((thumb[0], thumb[1], 23.0), (thumb[1], thumb[2], 17.0)):
        _limb(layer, start, stop, wide, dark)
    cv2.fillPoly(layer, [palm], (*dark, 255), cv2.LINE_AA)
    for start, stop, wide in ((thumb[0], thumb[1], 20.0), (thumb[1], thumb[2], 14.0)):
        _limb(layer, start, stop, wide, skin)
    inner = ((palm - [200, 230]) * [0.93, 0.985] + [199, 230]).astype(np.int32)
    cv2.fillPoly(layer, [inner], (*skin, 255), cv2.LINE_AA)
    for x, _ in fingers:
        light = mix(skin, (255, 255, 255), 0.14)
        cv2.line(layer, (200 + x, 158), (200 + x * 2 // 3, 215), (*light, 255), 6, cv2.LINE_AA)
        cv2.ellipse(layer, (200 + x, 150), (11, 8), 0, 0, 360, (*shade, 255), 2, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(layer, (0, 0), 1.6), np.uint8)
    return _across_light(soft)


def _across_light(layer: Image) -> Image:
    ramp = np.linspace(1.06, 0.84, layer.shape[1])[None, :, None]
    layer[:, :, :3] = np.clip(layer[:, :, :3] * ramp, 0, 255)
    return layer


def _at(where: tuple[float, float]) -> tuple[int, int]:
    return (round(where[0]), round(where[1]))


def _limb(
    layer: Image, start: tuple[float, float], stop: tuple[float, float], radius: float,
    colour: Colour,
) -> None:  # fmt: skip
    cv2.line(layer, _at(start), _at(stop), (*colour, 255), round(radius * 2), cv2.LINE_AA)


def place_hand(
    sprite: Image, where: tuple[float, float], direction: float, scale: float, hand: int
) -> tuple[Image, int, int]:
    """Bring a hand sprite into the frame; returns the layer and its top left corner.

    direction: of the fingers, radians from upwards, clockwise. scale: pixels a metre.
    hand: 1 right, -1 left.
    """
    factor = scale / HAND_TEXELS
    source = sprite if hand > 0 else sprite[:, ::-1]
    while factor < 0.5:
        source = np.asarray(cv2.pyrDown(source), np.uint8)
        factor *= 2
    source_scale = source.shape[0] / 400
    half = int(285 * scale / HAND_TEXELS) + 2
    centre_x = HAND_CENTRE[0] if hand > 0 else 399 - HAND_CENTRE[0]
    sine, cosine = np.sin(direction) * factor, np.cos(direction) * factor
    matrix = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
    target = np.array([half + where[0] % 1, half + where[1] % 1])
    matrix[:, 2] = target - matrix[:, :2] @ (np.array([centre_x, HAND_CENTRE[1]]) * source_scale)
    layer = cv2.warpAffine(source, matrix, (2 * half, 2 * half), flags=cv2.INTER_LINEAR)
    return np.asarray(layer, np.uint8), int(where[0] // 1) - half, int(where[1] // 1) - half


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm in a picture: (N, 2) pixels from wrist to shoulder, (N,) radii, (N,) z in metres."""

    line: NDArray[np.float64]
    radii: NDArray[np.float64]
    z: NDArray[np.float64]

    @property
    def direction(self) -> float:
        """Where the fingers point, radians from upwards, clockwise."""
        along = self.line[0] - self.line[3]
        return float(np.arctan2(along[0], -along[1]))


def arm_of(camera: Camera, hand: Point, outside: Point, side: int) -> Arm:
    """Return the arm between a hand and where its shopper stands."""
    shoulder = outside + (outside - hand) * 0.15 + point(0.06 * side, -0.16, -0.05)
    elbow = hand * 0.52 + shoulder * 0.48 + point(0.07 * side, -0.05, -0.02)
    along = np.linspace(0.0, 1.0, 18)[:, None]
    wrist = hand + (shoulder - hand) / max(float(np.linalg.norm(shoulder - hand)), 0.1) * 0.075
    line = (1 - along) ** 2 * wrist + 2 * along * (1 - along) * elbow + along**2 * shoulder
    seen = camera.project(line)
    size = np.interp(along[:, 0], [0, 0.12, 0.5, 1.0], [WRIST_M, 0.030, ELBOW_M, SHOULDER_M])
    return Arm(seen[:, :2], size * camera.focal / np.maximum(seen[:, 2], 0.3), line[:, 2])


def draw_arm(canvas: Image, arm: Arm, looks: Looks, start: int, stop: int) -> None:
    """Draw the part of an arm between two of its points on the canvas in place."""
    count = len(arm.line)
    bare = round((1 - looks.sleeve) * (count - 1))
    if start < bare:
        _tube(canvas, arm, start, min(stop, bare) + 1, looks.skin, 1.0)
    if stop > bare:
        first = max(start, bare)
        _tube(canvas, arm, first, stop + 1, looks.cloth, 1.22)
        if start <= bare:
            _cuff(canvas, arm, bare, mix(looks.cloth, (0, 0, 0), 0.3))
        if looks.striped:
            for index in range(first + 1, stop, 2):
                _cuff(canvas, arm, index, mix(looks.cloth, (255, 255, 255), 0.5))


def _normals(line: NDArray[np.float64]) -> NDArray[np.float64]:
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def _tube(canvas: Image, arm: Arm, start: int, stop: int, colour: Colour, wider: float) -> None:
    line, radii = arm.line[start:stop], arm.radii[start:stop] * wider
    if len(line) < 2:
        return
    normals = _normals(arm.line)[start:stop]
    towards_light = np.where((normals @ np.array([-0.6, -0.8]))[:, None] > 0, normals, -normals)
    layers = (
        (1.0, 0.0, 0.55),
        (0.90, 0.06, 0.74),
        (0.72, 0.14, 0.88),
        (0.46, 0.24, 1.0),
        (0.2, 0.32, 1.1),
    )
    for width, shift, light in layers:
        middle = line + towards_light * (radii * shift)[:, None]
        left = middle + normals * (radii * width)[:, None]
        right = middle - normals * (radii * width)[:, None]
        outline = np.concatenate([left, right[::-1]])
        tint = tuple(float(min(channel * light, 255)) for channel in colour)
        _fill(canvas, outline, tint)


def _cuff(canvas: Image, arm: Arm, index: int, colour: Colour) -> None:
    normal = _normals(arm.line)[index] * arm.radii[index] * 1.24
    ends = [_at(tuple(arm.line[index] + normal)), _at(tuple(arm.line[index] - normal))]
    cv2.line(canvas, ends[0], ends[1], colour, max(round(arm.radii[index] * 0.22), 1), cv2.LINE_AA)


def _fill(canvas: Image, outline: NDArray[np.float64], colour: tuple[float, ...]) -> None:
    corners: NDArray[Any] = np.round(np.clip(outline, -4000, 8000) * 8).astype(np.int32)
    cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA, shift=3)
