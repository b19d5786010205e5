"""Tell a quiet picture from one in which something moves.

The first and cheapest stage: while nothing moves, nothing after it is computed. It works on a small
picture, follows the sensor's noise, and takes a shaken camera out before it compares. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.align import Aligner
from edge.lighting import lighting
from edge.planes import level_counts, median_level
from edge.translate import translate

NOISE_FLOOR = 1.0
REALIGN_S = 10.0
STEADY = 0.2
GLANCE_S = 0.1
"""How often it is looked whether a camera that stands still has begun to shake."""
SPARSE = 4
LITTLE = np.minimum(np.arange(256), 4)
"""What a difference of each level counts where most pixels hardly differ."""


@dataclass(frozen=True, slots=True)
class Motion:
    """What moved between the last picture and this one.

    shrunk: (h, w, 3) uint8 BGR, the picture made small.
    grey: (h, w) uint8, that in grey, smoothed and lined up.
    moving: (h, w) uint8, 255 where something moves.
    active: whether enough moves, where somebody looks, to be worth a thought.
    shift: x, y in pixels of the small picture by which the camera was off.
    noise: standard deviation of the smoothed small picture's grey noise, in grey levels.
    """

    shrunk: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    active: bool
    shift: tuple[float, float]
    noise: float

    def small(self) -> NDArray[np.uint8]:
        """Return (h, w, 3) uint8 BGR, the small picture smoothed and lined up.

        Made anew at each call: in a quiet picture nobody needs it.
        """
        lined_up: NDArray[np.uint8] = translate(
            _smooth(self.shrunk), -self.shift[0], -self.shift[1]
        )
        return lined_up


class MotionGate:
    """Compares each picture with the one before it.

    width: of the small picture, in pixels; a narrower source keeps its own width.
    sensitivity: grey levels a pixel must change by, over noise, to count as moving.
    min_pixels: how many moving pixels make the picture active.
    max_shift: how far, as a share of the width, a shaken camera is followed.
    """

    def __init__(
        self, width: int, sensitivity: float, min_pixels: int, max_shift: float = 0.03
    ) -> None:
        self._width = width
        self._sensitivity = sensitivity
        self._min_pixels = min_pixels
        self._max_shift = max_shift
        self._watched: NDArray[np.uint8] | None = None
        self._aligner: Aligner | None = None
        self._aligned_s = self._glanced_s = -1e9
        self._last: NDArray[np.uint8] | None = None
        self._noise = NOISE_FLOOR
        self._shake = 0.0
        self._edges: NDArray[np.float32] | None = None

    def watch(self, mask: NDArray[np.uint8]) -> None:
        """Limit what can make the picture active to mask, (h, w) uint8, non-zero = watched."""
        self._watched = mask

    def small_size(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        """Return (width, height) of the small picture made from image, (H, W, 3)."""
        height, width = image.shape[:2]
        small = min(self._width, width)
        return small, max(1, round(height * small / width))

    def observe(self, image: NDArray[np.uint8], time_s: float) -> Motion:
        """Compare image, (H, W, 3) uint8 BGR, taken at time_s, with the one before."""
        size = self.small_size(image)
        shrunk = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        grey = _smooth(cv2.cvtColor(shrunk, cv2.COLOR_BGR2GRAY))
        if self._last is None or self._last.shape != grey.shape:
            self._start(grey, time_s)
            nothing = np.zeros_like(grey)
            return Motion(shrunk, grey, nothing, False, (0.0, 0.0), self._noise)
        shaken = self._shake > 0
        moving = self._unaligned(grey)
        shift = (0.0, 0.0)
        if moving is None or cv2.countNonZero(moving) > self._min_pixels:
            shift = self._follow(grey, time_s)
            if shift != (0.0, 0.0):
                grey = translate(grey, -shift[0], -shift[1])
                difference = self._difference(grey)
                self._note_noise(difference[::SPARSE, ::SPARSE])
                moving = self._moving(grey, difference, self._shake > 0)
        if moving is None:
            moving = self._moving(grey, self._difference(grey), shaken)
        watched = moving if self._watched is None else cv2.bitwise_and(moving, self._watched)
        active = cv2.countNonZero(watched) >= self._min_pixels
        if not active and time_s - self._aligned_s > REALIGN_S:
            self._start(grey, time_s)
        self._last = grey
        return Motion(shrunk, grey, moving, active, shift, self._noise)

    def _start(self, grey: NDArray[np.uint8], time_s: float) -> None:
        self._last = grey
        self._aligner = Aligner(grey)
        self._aligned_s = time_s
        dx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
        dy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
        self._edges = np.asarray(
            cv2.dilate(cv2.magnitude(dx, dy), np.ones((3, 3), np.uint8)), np.float32
        )

    def _follow(self, grey: NDArray[np.uint8], time_s: float) -> tuple[float, float]:
        assert self._aligner is not None
        if self._shake == 0 and time_s - self._glanced_s < GLANCE_S:
            return 0.0, 0.0
        self._glanced_s = time_s
        shift = self._aligner.shift(grey, self._max_shift * grey.shape[1])
        size = max(abs(shift[0]), abs(shift[1]))
        if size < 0.25 and self._shake == 0:
            return 0.0, 0.0
        self._shake = 0.95 * self._shake + 0.05 * size if self._shake else size
        if self._shake < STEADY:
            self._shake = 0.0
        return shift

    def _unaligned(self, grey: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return what moves in a picture as it came; None while the camera shakes.

        Then it is lined up anyway and compared again; the noise follows either comparison.
        """
        if self._shake > 0:
            assert self._last is not None
            sparse = (slice(None, None, SPARSE), slice(None, None, SPARSE))
            self._note_noise(_apart(grey[sparse], self._last[sparse]))
            return None
        difference = self._difference(grey)
        self._note_noise(difference[::SPARSE, ::SPARSE])
        return self._moving(grey, difference, False)

    def _difference(self, grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert self._last is not None
        return _apart(grey, self._last)

    def _note_noise(self, sample: NDArray[np.uint8]) -> None:
        """Follow the noise, which sample, some pixels of a difference, tells."""
        counts = level_counts(sample)
        typical = median_level(counts)
        spread = typical if typical >= 2 else float(counts @ LITTLE) / sample.size
        self._noise += 0.1 * (max(NOISE_FLOOR, spread) - self._noise)

    def _moving(
        self, grey: NDArray[np.uint8], difference: NDArray[np.uint8], shaken: bool
    ) -> NDArray[np.uint8]:
        """Return (h, w) uint8, 255 where difference, (h, w), is more than noise and shake."""
        difference = np.asarray(cv2.blur(difference, (3, 3)), np.uint8)
        light = lighting(float(grey[::8, ::8].mean()))
        limit = self._sensitivity * light + 3.0 * (self._noise - NOISE_FLOOR)
        if shaken and self._edges is not None:
            tolerance = (limit + 0.6 * self._edges).astype(np.uint8)
            moving = cv2.compare(difference, tolerance, cv2.CMP_GT)
        else:
            moving = cv2.threshold(difference, limit, 255, cv2.THRESH_BINARY)[1]
        solid = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        return np.asarray(solid, np.uint8)


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.absdiff(one, other), np.uint8)


def _smooth(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(picture, (5, 5), 1.2), np.uint8)
