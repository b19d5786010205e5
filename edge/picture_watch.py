"""Notice that a live picture is not what it should be: frozen, black or of another size.

Pure: pictures and their arrival times in, a state out. The live source feeds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.source import State

BLACK_LEVEL = 24
BLACK_SHARE = 0.995
SAMPLE = 8
"""Every eighth pixel of every eighth row tells a black picture and nearly every fresh one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the picture is, and a sentence for a person."""

    state: State
    message: str


OK = Verdict(State.OK, "")


class PictureWatch:
    """Watches the pictures of one camera, also across reconnections.

    frozen_s: for how long pictures must be identical to the bit; a real sensor's never are.
    black_s: for how long pictures must be black.
    """

    def __init__(self, frozen_s: float = 3.5, black_s: float = 2.5) -> None:
        self._frozen_s = frozen_s
        self._black_s = black_s
        self._size: tuple[int, int] | None = None
        self._last: NDArray[np.uint8] | None = None
        self._fresh_s = 0.0
        self._lit_s = 0.0

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the first picture: what the zones were drawn on."""
        return self._size

    def interrupted(self) -> None:
        """Forget the last picture: the stream broke off, and time passed without pictures."""
        self._last = None

    def look(self, image: NDArray[np.uint8], now_s: float) -> Verdict:
        """Judge the next picture.

        image: (H, W, 3) uint8. now_s: when it arrived, in seconds of any steady clock.
        """
        size = (image.shape[1], image.shape[0])
        if self._last is None:
            self._lit_s = now_s
            self._size = self._size or size
        if self._last is None or not _identical(image, self._last):
            self._fresh_s = now_s
        if not is_black(image):
            self._lit_s = now_s
        self._last = image
        return self._verdict(size, now_s)

    def _verdict(self, size: tuple[int, int], now_s: float) -> Verdict:
        if size != self._size and self._size is not None:
            message = (
                f"the picture is {size[0]} x {size[1]} pixels now and was {self._size[0]} x "
                f"{self._size[1]}: set the camera back, or restart with new zones"
            )
            return Verdict(State.RESIZED, message)
        if now_s - self._lit_s >= self._black_s:
            return Verdict(State.BLACK, "the picture is black: is the lens covered, the light off?")
        if now_s - self._fresh_s >= self._frozen_s:
            return Verdict(State.FROZEN, "the picture stands still: the camera repeats itself")
        return OK


def is_black(image: NDArray[np.uint8]) -> bool:
    """Return whether next to nothing in a picture is brighter than black."""
    sample = image[::SAMPLE, ::SAMPLE]
    return int(np.count_nonzero(sample > BLACK_LEVEL)) <= (1 - BLACK_SHARE) * sample.size


def _identical(image: NDArray[np.uint8], last: NDArray[np.uint8]) -> bool:
    if image.shape != last.shape:
        return False
    if not np.array_equal(image[::SAMPLE, ::SAMPLE], last[::SAMPLE, ::SAMPLE]):
        return False
    return np.array_equal(image, last)
