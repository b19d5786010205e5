"""One camera's pictures: the shelf at rest, with the hands, goods and people of the moment."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.bodies import Bodies, Presence
from edge.simulate.gestures import Gesture, Held
from edge.simulate.goods import Goods
from edge.simulate.people import Arm, Looks, arm_of, draw_arm, hand_sprite, looks_of, place_hand
from edge.simulate.scene import Camera, Image, Patch, lay, patch_of, window
from edge.simulate.shelf import Shelf, Stack
from edge.simulate.still import StillShelf, light_at

HIDDEN_BEHIND_M = 0.03
SHADOW_STEP = 8
ARM_SHADOW = 0.38


class View:
    """What one camera sees of its shelf."""

    def __init__(self, shelf: Shelf, camera: Camera, goods: Goods, seed: int) -> None:
        self.shelf = shelf
        self.camera = camera
        self.still = StillShelf(shelf, camera, goods, seed)
        self._goods = goods
        self._seed = seed
        self._looks: dict[int, Looks] = {}
        self._hands: dict[tuple[Looks, bool], Image] = {}
        self._bodies = Bodies()

    def picture(
        self, time_s: float, stacks: tuple[Stack, ...], gestures: Sequence[Gesture],
        presences: Sequence[Presence],
    ) -> Image:  # fmt: skip
        """Return the scene at a time, (H, W, 3) uint8, before light and sensor.

        stacks: what stands on the shelf then; what a hand carries is not in them.
        """
        still = self.still.draw(stacks)
        moving = [(g, held) for g in gestures if (held := g.at(time_s)) is not None]
        people = [(p, at) for p in presences if (at := p.at(time_s)) is not None]
        if not moving and not people:
            return still.image
        canvas = still.image.copy()
        arms = [
            arm_of(self.camera, held.hand, gesture.outside, gesture.reach.hand)
            for gesture, held in moving
        ]
        self._cast_shadow(canvas, arms)
        order = sorted(range(len(moving)), key=lambda index: -float(moving[index][1].hand[2]))
        for index in order:
            gesture, held = moving[index]
            self._draw_reach(canvas, still.depth, gesture, held, arms[index])
        for presence, (x, bob) in sorted(people, key=lambda one: one[0].top, reverse=True):
            looks = self._looks_of(presence.person)
            lay(canvas, self._bodies.patch(looks, self.camera, x, bob, presence.top))
        return canvas

    def _looks_of(self, person: int) -> Looks:
        if person not in self._looks:
            self._looks[person] = looks_of(self._seed, person)
        return self._looks[person]

    def _draw_reach(
        self, canvas: Image, depth: NDArray[np.float32], gesture: Gesture, held: Held, arm: Arm
    ) -> None:
        looks = self._looks_of(gesture.reach.visit.person)
        if held.carried is not None:
            product = gesture.reach.item.product
            front = float(held.carried.foot[2] - self._goods.measures(product)[2] / 2)
            light = light_at(front)
            carried = self._goods.draw(product, self.camera, held.carried, light, fine=False)
            if carried is not None:
                lay(canvas, carried, _visible(carried, depth, front))
        hand_z = float(held.hand[2])
        deep = int(np.searchsorted(-arm.z, -0.02)) if hand_z > 0.02 else 0
        key = (looks, held.closed)
        if key not in self._hands:
            self._hands[key] = hand_sprite(looks.skin, held.closed)
        seen = self.camera.project(held.hand)[0]
        layer, x, y = place_hand(
            self._hands[key], (float(seen[0]), float(seen[1])), arm.direction,
            self.camera.focal / float(seen[2]), gesture.reach.hand,
        )  # fmt: skip
        patch = patch_of(layer, x, y, light_at(hand_z))
        last = len(arm.line) - 1
        if deep == 0:
            lay(canvas, patch)
            draw_arm(canvas, arm, looks, 0, last)
            return
        near = min(max(deep, 1), last)
        part = _around(arm, near, patch, canvas.shape)
        before = canvas[part].copy()
        lay(canvas, patch)
        draw_arm(canvas, arm, looks, 0, near)
        hidden = depth[part] < min(hand_z, 0.06) - HIDDEN_BEHIND_M
        np.copyto(canvas[part], before, where=hidden[:, :, None])
        if near < last:
            draw_arm(canvas, arm, looks, near, last)

    def _cast_shadow(self, canvas: Image, arms: Sequence[Arm]) -> None:
        """Darken the shelf softly beside and below the arms."""
        if not arms:
            return
        size = (self.camera.width // SHADOW_STEP, self.camera.height // SHADOW_STEP)
        mask = np.zeros((size[1], size[0]), dtype=np.uint8)
        for arm in arms:
            shift = np.array([self.camera.width * 0.014, self.camera.height * 0.035])
            line = np.round((arm.line + shift) / SHADOW_STEP).astype(np.int32)
            strength = int(255 * ARM_SHADOW)
            for index in range(0, len(line) - 1, 2):
                wide = max(round(float(arm.radii[index]) * 2.2 / SHADOW_STEP), 1)
                stop = line[min(index + 2, len(line) - 1)]
                cv2.line(mask, tuple(map(int, line[index])), tuple(map(int, stop)), strength, wide)
        if not mask.any():
            return
        soft = cv2.GaussianBlur(mask, (0, 0), 1.8)
        columns = np.nonzero(soft.any(axis=0))[0]
        rows = np.nonzero(soft.any(axis=1))[0]
        x1, x2 = int(columns[0]), int(columns[-1]) + 1
        y1, y2 = int(rows[0]), int(rows[-1]) + 1
        part = soft[y1:y2, x1:x2]
        wanted = ((x2 - x1) * SHADOW_STEP, (y2 - y1) * SHADOW_STEP)
        keep = 255 - cv2.resize(part, wanted, interpolation=cv2.INTER_LINEAR)
        ground = canvas[y1 * SHADOW_STEP : y2 * SHADOW_STEP, x1 * SHADOW_STEP : x2 * SHADOW_STEP]
        ground[...] = cv2.multiply(ground, cv2.merge([keep] * 3), scale=1 / 255)


def _visible(patch: Patch, depth: NDArray[np.float32], front: float) -> NDArray[np.bool_] | None:
    """Where nothing on the shelf stands before something carried whose front is at this z."""
    if front < HIDDEN_BEHIND_M - 0.01:
        return None
    part = window(patch, depth.shape)
    visible = np.ones(patch.alpha.shape, dtype=bool)
    if part is not None:
        y, x = part[0].start - patch.y, part[1].start - patch.x
        near = depth[part] < front - HIDDEN_BEHIND_M
        visible[y : y + near.shape[0], x : x + near.shape[1]] = ~near
    return visible


def _around(arm: Arm, stop: int, patch: Patch, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns that hold a hand and the arm up to one of its points."""
    line, wide = arm.line[: stop + 1], float(arm.radii[: stop + 1].max()) * 1.4
    low = np.minimum(line.min(axis=0) - wide, [patch.x, patch.y])
    high = np.maximum(
        line.max(axis=0) + wide, [patch.x + patch.alpha.shape[1], patch.y + patch.alpha.shape[0]]
    )
    x1, y1 = (int(value) for value in np.clip(low, 0, [shape[1], shape[0]]))
    x2, y2 = (int(value) + 1 for value in np.clip(high, 0, [shape[1], shape[0]]))
    return slice(y1, y2), slice(x1, x2)
