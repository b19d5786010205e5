"""What a camera's pipeline shows of itself: the newest picture, and how long each stage takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.detect import Detection
from edge.frame import Frame
from edge.zones import Zone

KEPT = 20_000


@dataclass(frozen=True, slots=True)
class CameraView:
    """What a camera saw last.

    frame: None before the first. zones: in pixels of the frame. detections: what the detector
    follows, in pixels of the frame. stage_ms: milliseconds a call of each stage takes, on average.
    """

    frame: Frame | None
    zones: Sequence[Zone]
    detections: Sequence[Detection]
    stage_ms: Mapping[str, float]


class StageTimes:
    """How long each stage took, call by call; of very long runs the first calls."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._total: dict[str, float] = {}
        self._calls: dict[str, int] = {}

    def add(self, stage: str, seconds: float) -> None:
        """Note one call of a stage."""
        kept = self._seconds.setdefault(stage, [])
        if len(kept) < KEPT:
            kept.append(seconds)
        self._total[stage] = self._total.get(stage, 0.0) + seconds
        self._calls[stage] = self._calls.get(stage, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean of every stage's calls, in milliseconds."""
        totals = list(self._total.items())
        return {stage: total * 1000 / self._calls[stage] for stage, total in totals}

    def summary(self) -> dict[str, dict[str, float]]:
        """Return calls, p50, p95, p99 and total of every stage, in milliseconds."""
        found = {}
        for stage, seconds in self._seconds.items():
            p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000
            found[stage] = {
                "calls": self._calls[stage],
                "p50": round(float(p50), 3),
                "p95": round(float(p95), 3),
                "p99": round(float(p99), 3),
                "total": round(self._total[stage] * 1000, 1),
            }
        return found
