"""A camera's stages together, on the first seconds of the bottle clip with its real networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge.capture import Recording
from edge.config import CameraSettings, default
from edge.detect import Detection
from edge.events import DecidedEvent
from edge.frame import Frame
from edge.pipeline import CameraPipeline, build
from models.bundle import DEFAULT_BUNDLE, load_bundle

SECONDS = 8.5


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[Frame]:
    """Up to the first bottle's being taken, and a little longer."""
    clip = Recording(shared_data / "video" / "bottle-detection.mp4", "camera-1")
    return [frame for frame in clip if frame.time_s < SECONDS]


Told = list[tuple[list[DecidedEvent], Sequence[Detection]]]


def one_by_one(stages: CameraPipeline, frames: Sequence[Frame]) -> Told:
    return [(stages.feed(frame), _seen(stages)) for frame in frames]


def all_sensed_first(stages: CameraPipeline, frames: Sequence[Frame]) -> Told:
    sensed = [stages.sense(frame) for frame in frames]
    return [(stages.take(each), _seen(stages)) for each in sensed]


def _seen(stages: CameraPipeline) -> Sequence[Detection]:
    return tuple(stages.view().detections)


def test_sensing_ahead_gives_the_same_events_and_boxes(
    shared_data: Path, frames: list[Frame]
) -> None:
    camera = CameraSettings("camera-1", str(shared_data / "video" / "bottle-detection.mp4"), "fast")
    bundle = load_bundle(DEFAULT_BUNDLE)
    results = []
    for run in (one_by_one, all_sensed_first):
        stages = build(default(), camera, bundle)
        told = run(stages, frames)
        events = [(e.event_id, e.decision.sku) for decided, _ in told for e in decided]
        results.append((events, [seen for _, seen in told]))
    assert results[0] == results[1]
    assert len(results[0][0]) == 1
    assert any(results[0][1]), "the detector saw something"


def test_a_replay_nobody_views_detects_only_what_is_asked_and_finds_the_same(
    shared_data: Path, frames: list[Frame]
) -> None:
    camera = CameraSettings("camera-1", str(shared_data / "video" / "bottle-detection.mp4"), "fast")
    bundle = load_bundle(DEFAULT_BUNDLE)
    events, looks = [], []
    for viewed in (True, False):
        stages = build(default(), camera, bundle, viewed=viewed)
        told = one_by_one(stages, frames)
        events.append([_facts(event) for decided, _ in told for event in decided])
        looks.append(stages.times.summary()["detect"]["calls"])
    assert events[0] == events[1]
    assert len(events[0]) == 1
    assert 0 < looks[1] < looks[0] / 2


def _facts(decided: DecidedEvent) -> object:
    event, decision = decided.event, decided.decision
    pictures = [crop.tobytes() for crop in event.crops]
    return decided.event_id, event.time_s, event.decided_s, event.box, decision, pictures
