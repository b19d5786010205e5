"""Follow detections from frame to frame, so that one thing keeps one number.

ByteTrack as Roboflow's `trackers` keeps it: well kept, numpy and scipy only, and it goes by capture
time, so that frames the motion gate left out do no harm. Each label is followed by a tracker of its
own: a hand never becomes the bottle it holds. Called by the pipeline; pure: no clock, no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import supervision
from trackers import ByteTrackTracker

from edge.detect import LABELS, Detection, Label

NOMINAL_RATE = 10.0
"""Frames a second at which the motion model's noise is meant; other rates are scaled by time."""


@dataclass(frozen=True, slots=True)
class Track:
    """One thing that is being followed, as last detected.

    id: from 1, never used again by the same tracker.
    box: x1, y1, x2, y2 in pixels of the picture; score in [0, 1].
    """

    id: int
    box: tuple[float, float, float, float]
    label: Label
    score: float


class Tracker:
    """Gives detections numbers that last while the thing is seen.

    keep_s: for how long something unseen is remembered and gets its number back, in seconds.
    start_score: what a detection must score to begin a track; weaker ones only continue one.
    sightings: in how many updates running something must be seen before it gets a number.
    """

    def __init__(
        self, *, keep_s: float = 1.0, start_score: float = 0.5, sightings: int = 2
    ) -> None:
        self._by_label = {
            label: ByteTrackTracker(
                lost_track_buffer=round(keep_s * 30),  # counted at 30 frames a second
                frame_rate=NOMINAL_RATE,
                track_activation_threshold=start_score,
                high_conf_det_threshold=start_score,
                minimum_consecutive_frames=sightings,
            )
            for label in LABELS
        }
        self._numbers: dict[tuple[Label, int], int] = {}
        self._last_s: float | None = None

    def update(self, detections: Sequence[Detection], time_s: float) -> list[Track]:
        """Continue the tracks with what was detected at time_s, in seconds of stream time.

        Returns those that were seen now, by id. Call it with no detections too: time passes.
        Raises ValueError if time_s is not later than in the call before.
        """
        if self._last_s is not None and time_s <= self._last_s:
            raise ValueError(f"a tracker goes forward: {time_s} s came after {self._last_s} s")
        self._last_s = time_s
        tracks = [
            track
            for label in LABELS
            for track in self._follow(
                label, [each for each in detections if each.label == label], time_s
            )
        ]
        return sorted(tracks, key=lambda track: track.id)

    def _follow(self, label: Label, detections: Sequence[Detection], time_s: float) -> list[Track]:
        boxes = np.array([each.box for each in detections], np.float32).reshape(-1, 4)
        followed = self._by_label[label].update(
            supervision.Detections(
                xyxy=boxes,
                confidence=np.array([each.score for each in detections], np.float32),
                data={"index": np.arange(len(detections))},
            ),
            timestamp=time_s,
        )
        if followed.tracker_id is None or not len(followed):
            return []
        return [
            Track(self._number(label, int(own)), detections[i].box, label, detections[i].score)
            for i, own in zip(followed.data["index"], followed.tracker_id, strict=True)
            if own >= 0
        ]

    def _number(self, label: Label, own: int) -> int:
        return self._numbers.setdefault((label, own), len(self._numbers) + 1)
