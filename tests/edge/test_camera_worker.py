"""A camera's thread: every frame looked at, and trouble kept to itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.camera_worker import CameraWorker
from edge.events import DecidedEvent
from edge.frame import Frame
from edge.source import Health, State
from tests.cloud_sync.a_device import an_event, until


class ScriptedSource:
    """Gives so many frames, or blocks for ever after none."""

    def __init__(self, camera: str, frames: int, dead: bool = False) -> None:
        self.camera, self._left, self._dead = camera, frames, dead
        self._stopped = threading.Event()
        self._sequence = 0

    @property
    def health(self) -> Health:
        state = State.LOST if self._dead else State.OK
        return Health(state, 0.0, "", 25.0, (32, 18))

    @property
    def ended(self) -> bool:
        return self._stopped.is_set() or (self._left == 0 and not self._dead)

    def __iter__(self) -> Iterator[Frame]:
        return iter(())

    def read(self, timeout_s: float = 1.0) -> Frame | None:
        if self._dead:
            self._stopped.wait(timeout_s)
            return None
        self._left -= 1
        self._sequence += 1
        image = np.zeros((18, 32, 3), np.uint8)
        return Frame(image, self._sequence / 25, self.camera, self._sequence)

    def stop(self) -> None:
        self._stopped.set()


class ScriptedPipeline:
    """Has an event at every tenth frame and one at the end."""

    def __init__(self, name: str, breaks_at: int = -1) -> None:
        self._name, self._breaks_at, self.seen = name, breaks_at, 0

    def feed(self, frame: Frame) -> list[DecidedEvent]:
        self.seen += 1
        if self.seen == self._breaks_at:
            raise ValueError("a stage broke")
        return [an_event(f"{self._name}-{self.seen}")] if self.seen % 10 == 0 else []

    def finish(self) -> list[DecidedEvent]:
        return [an_event(f"{self._name}-end")]

    def view(self) -> Any:
        return SimpleNamespace(frame=None, zones=(), detections=(), stage_ms={})


@pytest.fixture
def handed_in() -> list[str]:
    return []


def a_worker(handed_in: list[str], source: Any, pipeline: Any) -> CameraWorker:
    def submit(event: DecidedEvent) -> bool:
        handed_in.append(event.event_id)
        return True

    worker = CameraWorker(source, pipeline, submit)
    worker.start()
    return worker


def test_a_recording_is_looked_at_to_its_end(handed_in: list[str]) -> None:
    worker = a_worker(handed_in, ScriptedSource("a", 25), ScriptedPipeline("a"))

    until(lambda: worker.done)

    assert handed_in == ["a-10", "a-20", "a-end"]
    assert worker.progress.frames == 25


def test_a_dead_camera_does_not_slow_another(handed_in: list[str]) -> None:
    dead = a_worker(handed_in, ScriptedSource("dead", 0, dead=True), ScriptedPipeline("dead"))
    alive = a_worker(handed_in, ScriptedSource("alive", 500), ScriptedPipeline("alive"))

    until(lambda: alive.done)

    assert alive.progress.frames == 500
    assert "alive-end" in handed_in
    assert not dead.done
    dead.stop()


def test_a_stage_that_breaks_is_said_and_stops_only_its_camera(handed_in: list[str]) -> None:
    broken = a_worker(handed_in, ScriptedSource("a", 50), ScriptedPipeline("a", breaks_at=12))
    other = a_worker(handed_in, ScriptedSource("b", 50), ScriptedPipeline("b"))

    until(lambda: broken.done and other.done)

    assert broken.progress.failure == "ValueError: a stage broke"
    assert other.progress.frames == 50
    assert "b-end" in handed_in


def test_a_camera_that_is_told_to_stop_stops_within_a_second(handed_in: list[str]) -> None:
    worker = a_worker(handed_in, ScriptedSource("dead", 0, dead=True), ScriptedPipeline("dead"))
    began = time.monotonic()

    worker.stop()

    assert time.monotonic() - began < 1.0
    assert "dead-end" not in handed_in
