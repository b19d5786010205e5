"""Turn what moved into what was taken and what came back.

A zone lay still, was disturbed, lies still again: where it now differs from before, an item has
left, has come, or has only been moved. People and hands the detector sees are waited for; things no
detector has a class for are judged by their looks (`edge.appearance`). Fed by the pipeline, one
picture at a time; pure: time comes in with the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.appearance import is_same, judge
from edge.background import Background
from edge.changes import Region, cores, find_regions, structural, together
from edge.crops import place_of
from edge.detect import Detection
from edge.events import Box, Kind, ShelfEvent
from edge.frame import Frame
from edge.motion import Motion
from edge.planes import mask_of
from edge.recent import Recent
from edge.zones import Zone, masks

Look = Callable[[NDArray[np.uint8]], Sequence[Detection]]
"""Detects in a picture, (H, W, 3) uint8 BGR; an empty answer where there is no detector."""


@dataclass(frozen=True, slots=True)
class ShelfLimits:
    """What the shelf believes.

    settle_s: how long a place must be still before it is compared.
    sensitivity: grey levels of difference that count as change.
    min_item, max_item: smallest and largest item, as shares of the picture's area.
    arm_s: how long something that reaches the picture's edge must be still to be no arm.
    person_score: from what score a detected person or hand is waited for.
    """

    settle_s: float = 0.3
    sensitivity: float = 11.0
    min_item: float = 0.002
    max_item: float = 0.2
    arm_s: float = 2.5
    person_score: float = 0.4


CHECK_S = 0.1
FOLLOW_S = 0.5
FORGET_S = 3.0
CHANGED_SHARE = 0.4
"""Where an item's like stands behind it, so little of its place may look changed."""
OUTLINE = 2.0
"""So many times the smallest item a box must hold where its outline alone has changed."""
THIN, THIN_OUTLINE = 0.4, 5.0
"""And so many where less than this share of it has: coarse compression leaves seams along edges."""
HAND_SHARE = 0.4
"""What is smaller beside all that hangs together with the picture's edge is a hand of an arm."""
FAINT = 2.0
FAINT_WAITS = 2.0
REFRESH_S = 0.3
RECENT_S = 20.0
RECENT_EVERY_S = 0.06


class Shelf:
    """The zones of one camera."""

    def __init__(self, camera: str, zones: Sequence[Zone], limits: ShelfLimits, look: Look) -> None:
        self._camera = camera
        self._zones = zones
        self._limits = limits
        self._look = look
        self._background = Background(limits.settle_s, limits.sensitivity)
        self._recent = Recent(RECENT_S, RECENT_EVERY_S)
        self._masks: list[NDArray[np.uint8]] = []
        self._differed = np.zeros((0, 0), np.bool_)
        self._due_s = -1e9
        self._compared_s = self._followed_s = self._refreshed_s = -1e9
        self._scale = 1.0
        self.unsettled = True

    def start(self, frame: Frame, motion: Motion) -> None:
        """Begin, or begin again, with a frame whose size is new."""
        height, width = motion.moving.shape
        self._scale = frame.image.shape[1] / width
        self._masks = masks(self._zones, (width, height), frame.image.shape[1])
        self._recent.clear()
        self._compared_s = self._due_s = -1e9
        self._background.start(frame.image, motion, frame.time_s)
        self.unsettled = True

    def observe(self, frame: Frame, motion: Motion) -> list[ShelfEvent]:
        """Take in a frame; return what happened that is certain by now."""
        now = frame.time_s
        if not motion.active and not self.unsettled and now - self._followed_s < FOLLOW_S:
            return []
        self._background.update(motion, now)
        self._recent.add(motion.grey, now)
        if now < self._due_s:
            return []
        self._due_s = now + CHECK_S
        settled, disturbed = self._background.settled(), self._background.disturbed()
        if self._nothing_new(settled, disturbed, now):
            self._background.agree(settled & ~self._differed)
            return []
        self._compared_s = now
        return self._check(frame, motion, settled, disturbed)

    def _nothing_new(
        self, settled: NDArray[np.bool_], disturbed: NDArray[np.bool_], now: float
    ) -> bool:
        """Whether to compare with the reference anew would tell nothing.

        settled, disturbed: (h, w), as the background tells them. What lies still now did so at
        the last comparison too, if that is not older than the settling time, and what was found
        then still holds. Where all lies still, the whole may become the reference: look again.
        """
        if now - self._compared_s >= self._limits.settle_s or settled.all():
            return False
        differs = int(np.count_nonzero(settled & disturbed & self._differed))
        return differs < self._least()

    def _check(
        self,
        frame: Frame,
        motion: Motion,
        settled: NDArray[np.bool_],
        disturbed: NDArray[np.bool_],
    ) -> list[ShelfEvent]:
        background, now = self._background, frame.time_s
        self._learn_unknown(frame, motion, settled)
        apart = background.difference()
        differs = self._differed = (apart > background.limit()) & (background.known > 0)
        changed = mask_of(differs & disturbed)
        regions = together(find_regions(changed, now - background.moved_s, self._least()))
        events, waiting = self._ripe(regions, apart, frame, motion)
        calm = settled & (changed == 0)
        background.agree(calm & ~differs)
        if now - self._followed_s >= FOLLOW_S:
            self._followed_s = now
            background.follow(mask_of(calm & (background.known > 0)))
        self.unsettled = waiting or not bool(settled.all()) or not bool(background.known.all())
        if not regions and not self.unsettled and now - self._refreshed_s > REFRESH_S:
            self._refreshed_s = now
            if motion.shift == (0.0, 0.0) or not motion.active:
                background.rebase(frame.image, motion)
        return sorted(events, key=lambda event: event.time_s)

    def _ripe(
        self,
        regions: Sequence[Region],
        apart: NDArray[np.float32],
        frame: Frame,
        motion: Motion,
    ) -> tuple[list[ShelfEvent], bool]:
        """Judge the regions that have been still for long enough; also whether any still waits.

        Each is judged once after it has moved.
        """
        events: list[ShelfEvent] = []
        waiting = False
        arms = [region for region in regions if region.at_border]
        for region in regions:
            wait_s = self._wait_s(region, arms, apart)
            if wait_s > 0:
                waiting = True
                self._due_s = min(self._due_s, frame.time_s + wait_s)
                continue
            inside = region.mask > 0
            judged = self._background.judged(inside)
            # What has been judged already waits anyhow, whoever is at it.
            asked = not judged or region.calm_s >= FORGET_S
            if asked and self._somebody_at(region, frame):
                waiting = True
                continue
            found = [] if judged else self._judge(region, apart, frame, motion)
            self._background.judge(inside)
            events += found
            if found or region.calm_s >= FORGET_S:
                self._absorb(region, frame, motion)
            else:
                waiting = True
        return events, waiting

    def _wait_s(self, region: Region, arms: Sequence[Region], apart: NDArray[np.float32]) -> float:
        """Return for how much longer a region must be still at least; 0 or less for no longer.

        While an arm is at it, it waits to be forgotten. What hardly differs must be still for
        longer: a hand's shadow does, and coarse compression.
        """
        settle_s = self._limits.settle_s
        wait_s = self._limits.arm_s if region.at_border else settle_s
        if region.area > self._limits.max_item * region.mask.size:
            wait_s = max(wait_s, FORGET_S)
        if cv2.mean(apart, region.mask)[0] < FAINT * self._background.limit():
            wait_s = max(wait_s, FAINT_WAITS * settle_s)
        if any(region.near(arm) or region.below(arm) for arm in arms):
            wait_s = max(wait_s, FORGET_S)
        return wait_s - region.calm_s

    def _judge(
        self,
        region: Region,
        apart: NDArray[np.float32],
        frame: Frame,
        motion: Motion,
    ) -> list[ShelfEvent]:
        """Judge a region, each of its parts by itself.

        What is wide and leaves no item is light: it is learned at once, for somebody who keeps
        moving beside it would keep it from ever lying still for long.
        """
        background, min_area = self._background, self._least()
        parts = self._items(region, cores(region, apart, background.limit(), min_area))
        if not parts:
            apart = structural(background.before(), background.current(), apart)
            parts = self._items(region, cores(region, apart, background.limit(), min_area))
        if not parts and region.box_area > self._largest():
            background.learn(region.mask, frame.image, motion)
        return [event for part in parts for event in self._settle(part, frame, motion)]

    def _items(self, region: Region, parts: Sequence[Region]) -> list[Region]:
        """Return the parts that can be items: not too small or large, no arms and no hands."""
        largest = self._largest()
        least = HAND_SHARE * region.box_area if region.at_border else 0.0
        return [
            part
            for part in parts
            if not part.at_border
            and least <= part.box_area <= largest
            and self._is_large_enough(part)
        ]

    def _is_large_enough(self, part: Region) -> bool:
        """Whether a part is as large as an item, or the outline of one."""
        smallest = self._smallest()
        thin = part.area < THIN * part.box_area
        if part.area >= smallest and not thin:
            return True
        sides = (part.box[2] - part.box[0], part.box[3] - part.box[1])
        least = (THIN_OUTLINE if thin else OUTLINE) * smallest
        return part.box_area >= least and min(sides) >= 0.8 * smallest**0.5

    def _least(self) -> int:
        """Return how many pixels must have changed for a place to be looked at."""
        return max(12, round(CHANGED_SHARE * self._smallest()))

    def _largest(self) -> float:
        height, width = self._background.shape
        return self._limits.max_item * height * width

    def _smallest(self) -> float:
        height, width = self._background.shape
        return self._limits.min_item * height * width

    def _learn_unknown(self, frame: Frame, motion: Motion, settled: NDArray[np.bool_]) -> None:
        """What has never been seen still becomes the reference once it is, people excepted."""
        fresh = settled & (self._background.known == 0)
        if not fresh.any():
            return
        for box in self._people(frame.image):
            x1, y1, x2, y2 = (round(value / self._scale) for value in box)
            fresh[max(0, y1) : y2, max(0, x1) : x2] = False
        if fresh.any():
            self._background.learn(mask_of(fresh), frame.image, motion)

    def _people(self, image: NDArray[np.uint8]) -> list[Box]:
        return [
            found.box
            for found in self._look(image)
            if found.label != "product" and found.score >= self._limits.person_score
        ]

    def _somebody_at(self, region: Region, frame: Frame) -> bool:
        """Whether a person or a hand covers a good part of the region."""
        x1, y1, x2, y2 = (value * self._scale for value in region.box)
        for left, top, right, bottom in self._people(frame.image):
            wide = min(x2, right) - max(x1, left)
            high = min(y2, bottom) - max(y1, top)
            if wide > 0 and high > 0 and wide * high > 0.3 * (x2 - x1) * (y2 - y1):
                return True
        return False

    def _absorb(self, region: Region, frame: Frame, motion: Motion) -> None:
        x1, y1, x2, y2 = region.box
        where = np.zeros(self._background.shape, np.uint8)
        where[max(0, y1 - 4) : y2 + 4, max(0, x1 - 4) : x2 + 4] = 255
        self._background.learn(where, frame.image, motion)

    def _zone_of(self, region: Region) -> Zone | None:
        shares = [cv2.countNonZero(cv2.bitwise_and(region.mask, mask)) for mask in self._masks]
        best = int(np.argmax(shares))
        return self._zones[best] if shares[best] >= 0.5 * region.area else None

    def _settle(self, region: Region, frame: Frame, motion: Motion) -> list[ShelfEvent]:
        """Judge a region that lies still again."""
        zone = self._zone_of(region)
        if zone is None:
            return []
        background = self._background
        now_image = background.lined_up(frame.image, motion)
        place = place_of(region.box, region.mask, background.picture, now_image, self._scale)
        was, now = (
            np.clip(picture, 0, 255).astype(np.uint8)
            for picture in (background.before(), background.current())
        )
        small = place_of(region.box, region.mask, was, now, 1.0)
        verdict = judge(small, place)
        if verdict is None or is_same(place.before, place.after, place.inner):
            return []
        holder = background.picture if verdict is Kind.PICK else now_image
        products = [d.box for d in self._look(holder) if d.label == "product"]
        when = self._recent.left_at if verdict is Kind.PICK else self._recent.arrived_at
        time_s = when(_grey(was), _grey(now), region.mask > 0)
        return [
            ShelfEvent(
                kind=verdict,
                time_s=frame.time_s - self._limits.settle_s if time_s is None else time_s,
                decided_s=frame.time_s,
                camera=self._camera,
                zone=zone.id,
                box=box,
                quantity=1,
                crops=place.crops(holder, box),
                before=place.before,
                after=place.after,
            )
            for box in place.items(products)
        ]


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)
