"""What a shelf looked like when it last lay still, and what it looks like now.

Every pixel has its own clock: when it last moved. A pixel that has been still for long enough is
settled; where a settled pixel differs from the reference, something has changed for good. Light
that changes everywhere alike is taken out before the comparison. Works on the motion stage's small
pictures; keeps one full picture of the settled shelf, for the crops. Pure.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.align import drift, gain, translate
from edge.lighting import lighting
from edge.motion import Motion

MOVED_MARGIN = np.ones((7, 7), np.uint8)
BLEND = 0.2
FOLLOW = 0.1
SHADOW_LEVELS = 16.0
SEAM = 4.0
COLOUR_COUNTS = 1.6
DRIFTS = 0.1
MEAN = np.full((1, 3), 1 / 3, np.float32)
LESS_MEAN = np.eye(3, dtype=np.float32) - np.float32(1 / 3)

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
        self.current = motion.small.astype(np.float32)
        self.reference = self.current.copy()
        self.known = np.zeros((height, width), np.uint8)
        self.picture = image.copy()
        self._noise = motion.noise
        self._gain = np.ones(3, np.float32)
        self._drift = (0.0, 0.0)

    def update(self, motion: Motion, time_s: float) -> None:
        """Take in the next picture."""
        self._time_s = time_s
        self._noise = motion.noise
        moved = cv2.dilate(motion.moving, MOVED_MARGIN)
        self.moved_s[moved > 0] = time_s
        still = cv2.bitwise_not(moved)
        small = motion.small.astype(np.float32)
        cv2.copyTo(small, moved, self.current)
        cv2.accumulateWeighted(small, self.current, BLEND, still)

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
        rough = _largest(self._apart())
        calm: NDArray[np.bool_] = use & (rough < 2.0 * limit)
        if int(np.count_nonzero(calm)) < 0.2 * max(1, int(np.count_nonzero(use))):
            calm = use
        self._gain = gain(self.reference, self.current, calm)
        self._drift = self._drifted(use)
        apart = self._apart()
        return _visible(apart - _soft(apart, use, 2.5 * limit), SHADOW_LEVELS * self._light())

    def _drifted(self, use: NDArray[np.bool_]) -> tuple[float, float]:
        """Return by how much of a pixel, x and y, the camera is off the reference.

        Shake too small for the motion stage to follow still moves every edge of a busy shelf.
        """
        pictures = (self._lit(), self.current)
        before, now = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pictures)
        x, y = drift(before, now, use)
        return (x, y) if max(abs(x), abs(y)) >= DRIFTS else (0.0, 0.0)

    def _apart(self) -> NDArray[np.float32]:
        """Return (h, w, 3) float32 BGR, how now differs from the reference in today's light."""
        return self.current - self.before()

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
        return self._sensitivity * self._light() + 1.5 * (self._noise - 1.0)

    def _light(self) -> float:
        """Return how well lit the picture is, 1 for well: a dark one has smaller differences."""
        return lighting(float(self.current[::8, ::8].mean()))

    def before(self) -> NDArray[np.float32]:
        """Return (h, w, 3) float32 BGR, the reference in today's light and where it is today."""
        return translate(self._lit(), *self._drift)

    def _lit(self) -> NDArray[np.float32]:
        """Return (h, w, 3) float32 BGR, the reference in today's light."""
        return np.asarray(cv2.transform(self.reference, np.diag(self._gain)), np.float32)

    def _as_reference(self) -> NDArray[np.float32]:
        """Return (h, w, 3) float32 BGR, what is there now in the reference's light and place."""
        return translate(self.current / self._gain, -self._drift[0], -self._drift[1])

    def learn(self, where: Mask, image: NDArray[np.uint8], motion: Motion) -> None:
        """Make what is there now the reference, where `where`, (h, w) uint8, is not 0.

        What is known around it is blended in softly: a seam would look like an outline.
        """
        weight = np.where(where > 0, np.float32(1.0), np.float32(0.0))
        soft = np.minimum(1.0, 2.0 * cv2.GaussianBlur(weight, (0, 0), SEAM))
        soft[self.known == 0] = weight[self.known == 0]
        soft[~self.settled()] = 0.0
        self.reference += soft[..., None] * (self._as_reference() - self.reference)
        inside = where > 0
        self.known[inside] = 255
        self.agreed_s[inside] = self._time_s
        self._keep(soft, image, motion)

    def follow(self, where: Mask) -> None:
        """Let the reference drift with slow changes, where `where`, (h, w) uint8, is not 0."""
        cv2.accumulateWeighted(self._as_reference(), self.reference, FOLLOW, where)

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


def _largest(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (h, w), the largest size of a channel of values, (h, w, 3)."""
    first, second, third = cv2.split(np.abs(values))
    return np.asarray(cv2.max(cv2.max(first, second), third), np.float32)


def _visible(apart: NDArray[np.float32], shadow: float) -> NDArray[np.float32]:
    """Return (h, w) float32, how much of a difference, (h, w, 3) BGR, is more than a shadow.

    A shadow darkens all channels alike and softly: of plain lightness only what goes beyond a
    shadow's usual depth, `shadow` grey levels, counts, of fine structure and of colour everything.
    """
    light = np.asarray(cv2.transform(apart, MEAN), np.float32)
    colour = _largest(np.asarray(cv2.transform(apart, LESS_MEAN), np.float32))
    smooth = cv2.GaussianBlur(light, (0, 0), light.shape[1] / 60)
    seen = np.maximum(np.abs(light) - np.float32(shadow), np.abs(light - smooth))
    visible: NDArray[np.float32] = np.maximum(seen, np.float32(COLOUR_COUNTS) * colour)
    return visible


def _soft(apart: NDArray[np.float32], use: NDArray[np.bool_], most: float) -> NDArray[np.float32]:
    """Return (h, w, 3) float32, the part of a difference that varies softly.

    A weighted mean over a wide neighbourhood, from pixels that differ by at most `most` grey
    levels; it is never larger than that, so a thing of one colour keeps its difference.
    """
    height, width = apart.shape[:2]
    small = (max(2, width // 8), max(2, height // 8))
    chosen = np.where(use & (_largest(apart) <= most), np.uint8(1), np.uint8(0))
    total = cv2.resize(chosen.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(cv2.copyTo(apart, chosen), small, interpolation=cv2.INTER_AREA)
    sigma = small[0] / 16
    total = cv2.GaussianBlur(total, (0, 0), sigma)
    summed = cv2.GaussianBlur(summed, (0, 0), sigma)
    mean = summed / np.maximum(total, 0.05)[..., None]
    wide = cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)
