"""Draw whole people from behind, and say when they stand in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.simulate.people import Looks
from edge.simulate.plan import Plan
from edge.simulate.scene import Camera, Image, Patch, Point, patch_of, point
from edge.simulate.settings import Occlusion, Settings
from edge.simulate.words import mix

SPRITE_WIDTH, SPRITE_HEIGHT = 420, 560
SHOULDERS_M = 0.46
ASIDE_M = 1.0


def body_sprite(looks: Looks) -> Image:
    """Draw head, neck, shoulders and back, (560, 420, 4) uint8 premultiplied."""
    layer: Image = np.zeros((SPRITE_HEIGHT, SPRITE_WIDTH, 4), dtype=np.uint8)
    middle = SPRITE_WIDTH // 2
    steps = ((1.0, 0.62), (0.93, 0.80), (0.80, 0.92), (0.55, 1.0))
    neck = mix(looks.skin, (20, 20, 40), 0.25)
    cv2.rectangle(layer, (middle - 36, 150), (middle + 36, 240), (*neck, 255), -1)
    for width, light in steps:
        outline = np.array([[0, 206], [-44, 214], [-120, 238], [-170, 272], [-196, 340],
                            [-204, 470], [-204, 800], [204, 800], [204, 470], [196, 340],
                            [170, 272], [120, 238], [44, 214]], float)  # fmt: skip
        outline[:, 0] *= width
        outline[:, 1] += (1 - width) * 60
        cloth = [min(c * light, 255) for c in looks.cloth]
        corners = (outline + np.array([middle - (1 - width) * 30, 0.0])).astype(np.int32)
        cv2.fillPoly(layer, [corners], (*cloth, 255), cv2.LINE_AA)
    if looks.striped:
        for y in range(300, SPRITE_HEIGHT, 44):
            pale = mix(looks.cloth, (255, 255, 255), 0.5)
            cv2.line(layer, (middle - 170, y), (middle + 170, y), (*pale, 255), 12, cv2.LINE_AA)
    for x in (-78, 78):
        cv2.ellipse(
            layer, (middle + x, 112), (14, 24), 0, 0, 360, (*looks.skin, 255), -1, cv2.LINE_AA
        )
    for width, light in steps:
        hair = [c * light for c in looks.hair]
        axes = (round(76 * width), round(96 * width))
        at = (middle - round((1 - width) * 22), 106 - round((1 - width) * 22))
        cv2.ellipse(layer, at, axes, 0, 0, 360, (*hair, 255), -1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(layer, (0, 0), 2.2), np.uint8)
    _strands(soft, looks, middle)
    return soft


def _strands(layer: Image, looks: Looks, middle: int) -> None:
    """Draw single hairs from the crown down, so that a head does not look like a ball."""
    rng = np.random.default_rng(sum(looks.hair) + sum(looks.cloth))
    for _ in range(90):
        turn = float(rng.uniform(0, 2 * np.pi))
        long = float(rng.uniform(0.5, 0.98))
        stop = (middle + round(74 * long * np.cos(turn)), 106 + round(94 * long * np.sin(turn)))
        start = (middle - 10 + round(16 * np.cos(turn)), 66 + round(12 * np.sin(turn)))
        shade = mix(looks.hair, (0, 0, 0) if rng.random() < 0.6 else (200, 210, 220), 0.25)
        cv2.line(layer, start, stop, (*shade, 255), 2, cv2.LINE_AA)


@dataclass(frozen=True, slots=True)
class Presence:
    """A person in front of a shelf: comes in at start_s, is gone at end_s.

    xs: where they come from, stand and leave to, metres. top: share of the picture's height at
    which the head begins, 1 is the lower edge. person: number that gives looks.
    """

    shelf: int
    person: int
    start_s: float
    end_s: float
    xs: tuple[float, float, float]
    top: float
    stops: bool

    def at(self, time_s: float) -> tuple[float, float] | None:
        """Return x in metres and a bob in metres, None while not there."""
        if not self.start_s <= time_s < self.end_s:
            return None
        share = (time_s - self.start_s) / (self.end_s - self.start_s)
        knots = [0.0, 0.25, 0.75, 1.0] if self.stops else [0.0, 0.5, 0.5, 1.0]
        x = float(np.interp(share, knots, [self.xs[0], self.xs[1], self.xs[1], self.xs[2]]))
        walking = not self.stops or not 0.25 < share < 0.75
        return x, 0.012 * float(np.sin(time_s * 11)) * walking + 0.003 * float(np.sin(time_s * 2))


def presences(settings: Settings, plan: Plan, widths: list[float]) -> list[Presence]:
    """Return who stands or walks in front of the shelves when."""
    if settings.occlusion is Occlusion.NONE:
        return []
    rng = np.random.default_rng([settings.seed, 61])
    heavy = settings.occlusion is Occlusion.HEAVY
    there: list[Presence] = []
    for shelf, width in enumerate(widths):
        out = width / 2 + ASIDE_M
        time_s = float(rng.uniform(8, 14))
        while time_s < settings.duration_s - 6:
            side = 1 if rng.random() < 0.5 else -1
            stops = heavy and bool(rng.random() < 0.4)
            lasts = float(rng.uniform(1.8, 3.2)) + (2.0 if stops else 0.0)
            top = float(rng.uniform(0.12, 0.45)) if heavy else float(rng.uniform(0.5, 0.75))
            middle = float(rng.uniform(-0.5, 0.5)) * width if stops else 0.0
            person = 1000 + int(rng.integers(1000))
            there.append(
                Presence(shelf, person, time_s, time_s + lasts, (-side * out, middle, side * out),
                         top, stops)
            )  # fmt: skip
            time_s += lasts + float(rng.uniform(7, 16) if heavy else rng.uniform(18, 40))
    for reach in plan.reaches:
        if rng.random() < (0.75 if heavy else 0.35):
            out = widths[reach.shelf] / 2 + ASIDE_M
            item = reach.item.x
            stand = item - reach.hand * float(rng.uniform(0.32, 0.45))
            come = -out if stand < 0 else out
            top = float(rng.uniform(0.42, 0.62)) if heavy else float(rng.uniform(0.74, 0.9))
            there.append(
                Presence(reach.shelf, reach.visit.person, reach.start_s - 1.6, reach.end_s + 1.6,
                         (come, stand, come), top, True)
            )  # fmt: skip
    return there


class Bodies:
    """Keeps people's sprites and places them in a picture."""

    def __init__(self) -> None:
        self._sprites: dict[Looks, Image] = {}
        self._patches: dict[tuple[Looks, int], Patch] = {}

    def patch(self, looks: Looks, camera: Camera, x: float, bob: float, top: float) -> Patch:
        """Return a person at x metres whose head begins at a share of the picture's height."""
        where = self._where(camera, x, top)
        scale = camera.scale(where)
        width = max(round(SHOULDERS_M * scale / 4) * 4, 24)
        key = (looks, width)
        if key not in self._patches:
            if looks not in self._sprites:
                self._sprites[looks] = body_sprite(looks)
            sprite = self._sprites[looks]
            size = (width, round(width * SPRITE_HEIGHT / SPRITE_WIDTH))
            small = np.asarray(cv2.resize(sprite, size, interpolation=cv2.INTER_AREA), np.uint8)
            low = np.repeat(small[-1:], camera.height, axis=0)
            self._patches[key] = patch_of(np.concatenate([small, low]), 0, 0)
        made = self._patches[key]
        seen = camera.project(where)[0]
        left, upper = round(seen[0] - width / 2), round(camera.height * top - bob * scale)
        return Patch(left, upper, made.colour, made.keep, made.alpha)

    def _where(self, camera: Camera, x: float, top: float) -> Point:
        y = float(camera.position[1]) - 0.3 - 0.25 * top
        return point(x, y, -0.38)
