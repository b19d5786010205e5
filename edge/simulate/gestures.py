"""Where a reaching hand is at each moment, and how it holds what it carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.simulate.goods import Pose
from edge.simulate.plan import Act, Reach
from edge.simulate.scene import Camera, Point, point

OUT_MARGIN_M = 0.27
LONGEST_ARM_STEPS = 60


@dataclass(frozen=True, slots=True)
class Held:
    """A hand at one moment: where it is (3,), whether it is closed, what it carries and how."""

    hand: Point
    closed: bool
    carried: Pose | None


@dataclass(frozen=True, slots=True)
class Gesture:
    """A reach made into movement. grip: on the item at its place; outside: out of all pictures."""

    reach: Reach
    foot: Point
    foot_after: Point
    grip: Point
    outside: Point
    tilt: float
    trembling: float

    def at(self, time_s: float) -> Held | None:
        """Return the hand at a time, None while it is not there."""
        reach = self.reach
        if not reach.start_s <= time_s < reach.end_s:
            return None
        carries_in = reach.act is Act.RETURN
        if time_s < reach.arrive_s:
            share = _ease((time_s - reach.start_s) / (reach.arrive_s - reach.start_s))
            hand = self._curve(self.outside, self.grip, share)
            return self._held(hand, time_s, carries_in, (1 - share) * self.tilt)
        if time_s < reach.change_s:
            return Held(self.grip + self._tremble(time_s), True, None)
        if reach.act is Act.PICK:
            share = _ease((time_s - reach.change_s) / (reach.end_s - reach.change_s))
            hand = self._curve(self.outside, self.grip, 1 - share)
            return self._held(hand, time_s, True, share * self.tilt)
        if reach.act is Act.LIFT and time_s < reach.rest_s:
            return self._lifted(time_s)
        wait = min(0.25, (reach.end_s - reach.rest_s) * 0.25)
        if time_s < reach.rest_s + wait:
            return Held(self._last_grip() + self._tremble(time_s), True, None)
        share = _ease((time_s - reach.rest_s - wait) / (reach.end_s - reach.rest_s - wait))
        return Held(self._curve(self.outside, self._last_grip(), 1 - share), share < 0.15, None)

    def _last_grip(self) -> Point:
        return np.asarray(self.grip + self.foot_after - self.foot)

    def _lifted(self, time_s: float) -> Held:
        """Out to where it can be looked at, a moment there, and back."""
        reach = self.reach
        share = (time_s - reach.change_s) / (reach.rest_s - reach.change_s)
        out = (
            _ease(min(share / 0.33, 1.0)) if share < 0.5 else 1 - _ease(max(share - 0.67, 0) / 0.33)
        )
        aside = point(0.02 * reach.hand, 0.05, -self.grip[2] - 0.16)
        start = self.grip if share < 0.5 else self._last_grip()
        rise = point(0.0, 0.012 * np.sin(np.pi * min(out * 1.5, 1.0)), 0.0)
        return self._held(start + aside * out + rise, time_s, True, out * self.tilt * 1.5)

    def _held(self, hand: Point, time_s: float, carries: bool, roll: float) -> Held:
        hand = hand + self._tremble(time_s)
        if not carries:
            return Held(hand, False, None)
        grip = self.grip - self.foot
        turned = point(
            grip[0] * np.cos(roll) + grip[1] * np.sin(roll),
            grip[1] * np.cos(roll) - grip[0] * np.sin(roll),
            grip[2],
        )
        return Held(hand, True, Pose(hand - turned, self.reach.item.yaw, roll))

    def _curve(self, far: Point, near: Point, share: float) -> Point:
        """A bow that arrives straight at the shelf, level or from slightly above."""
        control = near + point(0.0, 0.05, -near[2] - 0.26)
        return np.asarray(
            (1 - share) ** 2 * far + 2 * share * (1 - share) * control + share**2 * near
        )

    def _tremble(self, time_s: float) -> Point:
        phase = self.trembling
        return 0.0011 * point(
            np.sin(9.1 * time_s * 2 + phase) + 0.6 * np.sin(31 * time_s + 2 * phase),
            np.sin(13.7 * time_s + 3 * phase) + 0.5 * np.sin(41 * time_s + phase),
            np.sin(11.3 * time_s + 5 * phase),
        )


def gesture_for(
    reach: Reach, foot: Point, foot_after: Point, measures: Point, cameras: Sequence[Camera],
    rng: np.random.Generator,
) -> Gesture:  # fmt: skip
    """Turn a planned reach into movement that starts and ends outside all cameras' pictures.

    foot, foot_after: (3,) where the item stands. measures: (3,) its size in metres.
    """
    across = float(rng.uniform(0.05, 0.28)) * reach.hand * measures[0]
    height = float(rng.uniform(0.36, 0.58)) * measures[1]
    grip = foot + point(across, height, -measures[2] / 2 - 0.004)
    from_side = rng.random() < 0.18
    aside = float(rng.uniform(0.08, 0.36)) * reach.hand
    step = point(0.09 * reach.hand, -0.012, 0.0) if from_side else point(aside / 12, -0.07, 0.0)
    outside = grip + point(0.0, -0.03, -grip[2] - float(rng.uniform(0.34, 0.44)))
    for _ in range(LONGEST_ARM_STEPS):
        if all(_out(camera, outside) for camera in cameras):
            break
        outside = outside + step
    tilt = float(rng.uniform(-0.3, 0.3))
    return Gesture(reach, foot, foot_after, grip, outside, tilt, float(rng.uniform(0, 6)))


def _out(camera: Camera, where: Point) -> bool:
    x, y, _ = camera.project(where)[0]
    margin = OUT_MARGIN_M * camera.scale(where)
    beside = x < -margin or x > camera.width + margin
    return bool(beside or y > camera.height + margin or y < -margin)


def _ease(share: float) -> float:
    """Minimum-jerk progress of a movement, 0 to 1."""
    share = min(max(share, 0.0), 1.0)
    return share**3 * (10 - 15 * share + 6 * share * share)
