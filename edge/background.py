"""What a shelf looked like when it last lay still, and what it looks like now.

Every pixel has its own clock: when it last moved. A pixel that has been still for long enough is
settled; where a settled pixel differs from the reference, something has changed for good. Light
that changes everywhere alike is taken out before the comparison. Works on the motion stage's small
pictures; keeps one full picture of the settled shelf, for the crops. Pure.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.align import SKIPPED, drift, gain
from edge.lighting import lighting
from edge.motion import Motion
from edge.planes import Plane, Planes, each, extremes, grey_of, picture_of, planes_of, smoothed
from edge.translate import translate

MOVED_MARGIN = np.ones((7, 7), np.uint8)
BLEND = 0.2
FOLLOW = 0.1
SHADOW_LEVELS = 16.0
SEAM = 4.0
COLOUR_COUNTS = 1.6
DRIFTS = 0.1
SPARSE = 4

Mask = NDArray[np.uint8]


class Background:
    """The reference picture of one camera, pixel by pixel.

    settle_s: how long a pixel must be still to be settled, seconds.
    sensitivity: grey levels of difference that count, over noise.
    """

    def __init__(self, settle_s: float, sensitivity: float) -> None:
        self._settle_s = settle_s
        self._sensitivity = sensitivity
        self._time_s = 0.0
        self.shape: tuple[int, int] = (0, 0)

    def start(self, image: NDArray[np.uint8], motion: Motion, time_s: float) -> None:
        """Forget everything and begin with this picture; nothing is settled yet."""
        height, width = motion.moving.shape
        self.shape = (height, width)
        self._time_s = time_s
        self.moved_s = np.full((height, width), time_s, np.float32)
        self.judged_s = np.full((height, width), -1e9, np.float32)
        self.agreed_s = np.full((height, width), time_s, np.float32)
        small = motion.small()
        self._current, self._reference = planes_of(small), planes_of(small)
        self._light = _lighting(self._current)
        self.known = np.zeros((height, width), np.uint8)
        self.picture = image.copy()
        self._noise = motion.noise
        self._gain = np.ones(3, np.float32)
        self._drift = (0.0, 0.0)

    def update(self, motion: Motion, time_s: float) -> None:
        """Take in the next picture."""
        self._time_s = time_s
        self._noise = motion.noise
        moving = cv2.dilate(motion.moving, MOVED_MARGIN)
        np.copyto(self.moved_s, np.float32(time_s), where=moving > 0)
        still = cv2.bitwise_not(moving)
        for plane, current in zip(cv2.split(motion.small()), self._current, strict=True):
            # With a weight of 1 it is a copy that turns bytes into floats on its way.
            cv2.accumulateWeighted(plane, current, 1.0, moving)
            cv2.accumulateWeighted(plane, current, BLEND, still)
        self._light = _lighting(self._current)

    def settled(self) -> NDArray[np.bool_]:
        """Return (h, w), where nothing has moved for the settling time."""
        still: NDArray[np.bool_] = self._time_s - self.moved_s >= self._settle_s
        return still

    def difference(self) -> NDArray[np.float32]:
        """Return (h, w) float32, grey levels between now and the reference, light taken out.

        Light that changes everywhere alike is a factor; light that changes softly (a shadow, a
        reflection, a lamp) is what remains at a coarse scale where nothing stands out.
        """
        limit = self.limit()
        use: NDArray[np.bool_] = (self.known > 0) & (self._time_s - self.moved_s >= 0.1)
        calm = self._calm(use, 2.0 * limit)
        self._gain = gain(_sparse(self._reference), _sparse(self._current), calm)
        lit = self._lit()
        self._drift = self._drifted(lit, use)
        there = self._there(lit)
        apart = each(lambda now, was: np.subtract(now, was, out=was), self._current, there)
        _take_out_soft(apart, use, 2.5 * limit)
        return _visible(apart, SHADOW_LEVELS * self._light)

    def _calm(self, use: NDArray[np.bool_], most: float) -> NDArray[np.bool_]:
        """Return which of every fourth pixel of every fourth row may tell the light.

        Those in use that, in the light that was, hardly differ; all in use, where these are few.
        """
        x, y = self._drift
        matrix = np.array([[SPARSE, 0, -x], [0, SPARSE, -y]], np.float32)
        size = (-(-self.shape[1] // SPARSE), -(-self.shape[0] // SPARSE))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        usable = use[::SPARSE, ::SPARSE]
        calm = usable.copy()
        for channel, now in enumerate(_sparse(self._current)):
            there = cv2.warpAffine(
                self._reference[channel], matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            calm &= np.abs(now - self._gain[channel] * np.asarray(there, np.float32)) < most
        few = int(np.count_nonzero(calm)) < 0.2 * max(1, int(np.count_nonzero(usable)))
        return usable if few else calm

    def _drifted(self, lit: Planes, use: NDArray[np.bool_]) -> tuple[float, float]:
        """Return by how much of a pixel, x and y, the camera is off the reference, `lit` as today.

        Shake too small for the motion stage to follow still moves every edge of a busy shelf.
        """
        every_other = (slice(None, None, SKIPPED), slice(None, None, SKIPPED))
        now = grey_of(each(lambda plane: plane[every_other], self._current))
        x, y = drift(grey_of(lit), now, use[every_other])
        return (x, y) if max(abs(x), abs(y)) >= DRIFTS else (0.0, 0.0)

    def agree(self, where: NDArray[np.bool_]) -> None:
        """Note that the shelf looks as it did, where `where`, (h, w)."""
        self.agreed_s[where] = self._time_s

    def judge(self, where: NDArray[np.bool_]) -> None:
        """Note that what is there has been judged, where `where`, (h, w)."""
        self.judged_s[where] = self._time_s

    def judged(self, where: NDArray[np.bool_]) -> bool:
        """Whether most of the place `where`, (h, w), has been judged since it last moved."""
        return float(np.mean(self.judged_s[where] > self.moved_s[where])) > 0.8

    def disturbed(self) -> NDArray[np.bool_]:
        """Return (h, w), where something has moved since it last looked as it did, holes filled."""
        moved = (self.moved_s > self.agreed_s).astype(np.uint8)
        side = max(5, self.shape[1] // 24)
        filled = cv2.morphologyEx(moved, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
        return np.asarray(filled > 0)

    def limit(self) -> float:
        """Return the difference, in grey levels, from which a pixel counts as changed."""
        return self._sensitivity * self._light + 1.5 * (self._noise - 1.0)

    def current(self) -> NDArray[np.float32]:
        """Return (h, w, 3) float32 BGR, what is there now."""
        return picture_of(self._current)

    def before(self) -> NDArray[np.float32]:
        """Return (h, w, 3) float32 BGR, the reference in today's light and where it is today."""
        return picture_of(self._there(self._lit()))

    def _there(self, planes: Planes) -> Planes:
        """Return planes moved to where the reference is today."""
        return each(lambda plane: translate(plane, *self._drift), planes)

    def _lit(self) -> Planes:
        """Return the reference in today's light."""
        blue, green, red = self._reference
        return blue * self._gain[0], green * self._gain[1], red * self._gain[2]

    def _as_reference(self) -> Planes:
        """Return what is there now in the reference's light and place."""
        x, y = self._drift
        blue, green, red = self._current
        dimmed = (blue / self._gain[0], green / self._gain[1], red / self._gain[2])
        return each(lambda plane: translate(plane, -x, -y), dimmed)

    def learn(self, where: Mask, image: NDArray[np.uint8], motion: Motion) -> None:
        """Make what is there now the reference, where `where`, (h, w) uint8, is not 0.

        What is known around it is blended in softly: a seam would look like an outline.
        """
        weight = np.where(where > 0, np.float32(1.0), np.float32(0.0))
        soft = np.minimum(1.0, 2.0 * cv2.GaussianBlur(weight, (0, 0), SEAM))
        soft[self.known == 0] = weight[self.known == 0]
        soft[~self.settled()] = 0.0
        for known, fresh in zip(self._reference, self._as_reference(), strict=True):
            known += soft * (fresh - known)
        inside = where > 0
        self.known[inside] = 255
        self.agreed_s[inside] = self._time_s
        self._keep(soft, image, motion)

    def follow(self, where: Mask) -> None:
        """Let the reference drift with slow changes, where `where`, (h, w) uint8, is not 0."""
        for known, fresh in zip(self._reference, self._as_reference(), strict=True):
            cv2.accumulateWeighted(fresh, known, FOLLOW, where)

    def rebase(self, image: NDArray[np.uint8], motion: Motion) -> None:
        """Make the whole picture the reference: a quiet shelf has been seen anew."""
        self._gain = np.ones(3, np.float32)
        self._drift = (0.0, 0.0)
        self.learn(np.full(self.shape, 255, np.uint8), image, motion)

    def lined_up(self, image: NDArray[np.uint8], motion: Motion) -> NDArray[np.uint8]:
        """Return image, (H, W, 3), moved to where the reference picture is."""
        scale = image.shape[1] / self.shape[1]
        moved: NDArray[np.uint8] = translate(
            image, -motion.shift[0] * scale, -motion.shift[1] * scale
        )
        return moved

    def _keep(self, weight: NDArray[np.float32], image: NDArray[np.uint8], motion: Motion) -> None:
        """Blend full resolution pixels into the kept picture, lined up with the reference."""
        height, width = image.shape[:2]
        lined_up = self.lined_up(image, motion)
        if weight.all():
            self.picture = lined_up.copy()
            return
        rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
        if not rows.size:
            return
        scale = width / self.shape[1]
        y1, y2 = int(rows[0] * scale), min(height, int((rows[-1] + 1) * scale) + 1)
        x1, x2 = int(columns[0] * scale), min(width, int((columns[-1] + 1) * scale) + 1)
        share = cv2.resize(weight, (width, height))[y1:y2, x1:x2, None]
        kept = self.picture[y1:y2, x1:x2]
        fresh = lined_up[y1:y2, x1:x2] / self._gain
        kept[...] = np.clip(kept + share * (fresh - kept), 0, 255).astype(np.uint8)


def _lighting(planes: Planes) -> float:
    """Return how well lit a picture is, 1 for well: a dark one has smaller differences."""
    return lighting(float(np.mean([plane[::8, ::8].mean() for plane in planes])))


def _sparse(planes: Planes) -> Planes:
    """Return every fourth pixel of every fourth row."""
    return each(lambda plane: plane[::SPARSE, ::SPARSE], planes)


def _visible(apart: Planes, shadow: float) -> Plane:
    """Return (h, w) float32, how much of a difference is more than a shadow.

    A shadow darkens all channels alike and softly: of plain lightness only what goes beyond a
    shadow's usual depth, `shadow` grey levels, counts, of fine structure and of colour everything.
    """
    light = apart[0] + apart[1]
    light += apart[2]
    light *= np.float32(1 / 3)
    below, colour = extremes(apart)
    colour -= light
    np.subtract(light, below, out=below)
    np.maximum(colour, below, out=colour)
    colour *= np.float32(COLOUR_COUNTS)
    fine = smoothed(light, light.shape[1] / 60)
    fine = np.asarray(cv2.absdiff(light, fine), np.float32)
    beyond = np.abs(light, out=light)
    beyond -= np.float32(shadow)
    np.maximum(beyond, fine, out=beyond)
    visible: Plane = np.maximum(beyond, colour, out=beyond)
    return visible


def _take_out_soft(apart: Planes, use: NDArray[np.bool_], most: float) -> None:
    """Take the part that varies softly out of a difference, in place.

    A weighted mean over a wide neighbourhood, from pixels that differ by at most `most` grey
    levels; it is never larger than that, so a thing of one colour keeps its difference.
    """
    height, width = use.shape
    small = (max(2, width // 8), max(2, height // 8))
    sigma = small[0] / 16
    least, greatest = extremes(apart)
    chosen = (use & (greatest <= most) & (least >= -most)).view(np.uint8)

    def wide(plane: NDArray[Any]) -> Plane:
        coarse = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(coarse, (0, 0), sigma), np.float32)

    share = np.maximum(wide(chosen.astype(np.float32)), 0.05)
    for plane in apart:
        soft = wide(cv2.copyTo(plane, chosen)) / share
        plane -= np.asarray(cv2.resize(soft, (width, height)), np.float32)
