"""One picture from one camera, as every later stage receives it.

Time comes in with the frame: no stage after capture reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and where and when it was taken.

    image: (H, W, 3) uint8, BGR.
    time_s: stream time in seconds, from the source, never going back within one stream.
    camera: the camera's id in the configuration.
    sequence: number of the frame in its stream, from 0; gaps are frames that were dropped.
    """

    image: NDArray[np.uint8]
    time_s: float
    camera: str
    sequence: int
