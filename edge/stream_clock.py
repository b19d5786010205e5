"""Make a stream time that never goes back out of what containers and cameras call time.

Pure: numbers in, numbers out. Used by recordings and by live streams that carry their own time.
"""

from __future__ import annotations

import math

FALLBACK_FPS = 25.0
LONGEST_GAP_S = 10.0
"""A longer step, forward or back, is a broken time stamp and not a pause."""
SMALLEST_STEP_S = 0.001


def sane_fps(fps: float) -> float:
    """Return frames a second as a source claims them, or 25 where the claim is no sense."""
    return fps if math.isfinite(fps) and 0.05 <= fps <= 1000 else FALLBACK_FPS


class StreamClock:
    """Stream time in seconds: 0 at the first frame, and growing with every frame.

    Follows the source's time stamps; where they stand still, go back or leap, a frame lasts
    1 / fps and the stamps are followed again from there.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1.0 / sane_fps(fps)
        self._stamp_s: float | None = None
        self._time_s = 0.0
        self._offset_s = 0.0

    def time_of(self, stamp_s: float) -> float:
        """Return the stream time of the next frame, whose own time stamp is stamp_s."""
        if not math.isfinite(stamp_s):
            stamp_s = self._stamp_s or 0.0
        if self._stamp_s is None:
            self._offset_s = -stamp_s
        else:
            self._advance(stamp_s, stamp_s - self._stamp_s)
        self._stamp_s = stamp_s
        return self._time_s

    def _advance(self, stamp_s: float, step_s: float) -> None:
        if abs(step_s) > LONGEST_GAP_S:
            self._time_s += self._period_s
            self._offset_s = self._time_s - stamp_s
        elif step_s <= 0:
            self._time_s += self._period_s
        else:
            self._time_s = max(stamp_s + self._offset_s, self._time_s + SMALLEST_STEP_S)


class LiveClock:
    """Stream time of a live source: seconds since it was started, growing with every frame.

    Frames are stamped when they arrive. Where the source carries a time of its own, that is
    followed instead as long as it stays within tolerance_s of the arrival, so that a network that
    delivers in bursts does not bend time.
    """

    def __init__(self, tolerance_s: float = 1.0) -> None:
        self._tolerance_s = tolerance_s
        self._offset_s: float | None = None
        self._time_s = 0.0

    def reconnected(self) -> None:
        """Forget how the source's time and ours lay: after a reconnection it starts anew."""
        self._offset_s = None

    def time_of(self, arrival_s: float, stamp_s: float | None) -> float:
        """Return the time of a frame.

        arrival_s: seconds since the start. stamp_s: the source's own time, None where it has none.
        """
        time_s = arrival_s
        if stamp_s is not None and math.isfinite(stamp_s):
            if self._offset_s is None:
                self._offset_s = arrival_s - stamp_s
            if abs(stamp_s + self._offset_s - arrival_s) > self._tolerance_s:
                self._offset_s = arrival_s - stamp_s
            time_s = stamp_s + self._offset_s
        self._time_s = max(time_s, self._time_s + SMALLEST_STEP_S)
        return self._time_s
