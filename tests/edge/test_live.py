"""A live camera gives its newest picture, says within 5 s what is wrong, and comes back."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.capture import CaptureError, LiveSource, State, open_source
from edge.config import CameraSettings
from edge.live import Patience
from edge.video_device import Device, OpenedVideo, Picture
from tests.edge.mjpeg_camera import MjpegCamera, Mood

NOTICED_WITHIN_S = 5.0
BLOCKED_S = 30.0


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera()
    yield camera
    camera.close()


@pytest.fixture
def source(camera: MjpegCamera) -> Iterator[LiveSource]:
    source = open_source(CameraSettings("front", camera.address))
    assert isinstance(source, LiveSource)
    wait_until(lambda: source.health.state is State.OK)
    yield source
    source.stop()


def wait_until(true: Callable[[], bool], within_s: float = NOTICED_WITHIN_S) -> float:
    """Wait; return how long it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < within_s, f"not within {within_s} s"
        time.sleep(0.05)
    return time.monotonic() - started


class FakeDevice:
    """Gives pictures from a function; a picture that is None ends the connection."""

    fps = 0.0
    frames = 0

    def __init__(self, picture: Callable[[], Picture | None]) -> None:
        self.read = picture
        self.closed = False

    def close(self) -> None:
        self.closed = True


def fresh() -> Picture:
    time.sleep(0.01)
    return Picture(np.random.default_rng().integers(50, 200, (48, 64, 3), dtype=np.uint8), 0.0)


@pytest.mark.parametrize(
    ("mood", "state"),
    [
        ("hung up", State.LOST),
        ("refusing", State.LOST),
        ("silent", State.LOST),
        ("frozen", State.FROZEN),
        ("black", State.BLACK),
        ("small", State.RESIZED),
        ("tall", State.RESIZED),
    ],
)
def test_trouble_is_noticed_within_five_seconds_and_forgotten_when_it_is_over(
    camera: MjpegCamera, source: LiveSource, mood: Mood, state: State
) -> None:
    before = camera.connections
    camera.mood = mood
    wait_until(lambda: source.health.state is state)
    health = source.health
    assert health.message
    assert abs(health.since - time.time()) < NOTICED_WITHIN_S
    wait_until(lambda: camera.connections > before, within_s=8)
    camera.mood = "fine"
    wait_until(lambda: source.health.state is State.OK, within_s=8)
    frame = source.read(2.0)
    assert frame is not None
    assert frame.image.shape == (240, 320, 3)


def test_a_camera_that_tells_no_lengths_and_wants_a_log_in_is_read(camera: MjpegCamera) -> None:
    camera.tells_lengths = False
    source = LiveSource(camera.address.replace("//", "//user:p%40ss@"), "front")
    frames = [source.read(2.0) for _ in range(5)]
    source.stop()
    assert [frame.image.shape for frame in frames if frame] == [(240, 320, 3)] * 5
    assert camera.logins[0] == "Basic " + base64.b64encode(b"user:p@ss").decode()


def test_frames_carry_growing_times_and_numbers_also_across_a_reconnection(
    camera: MjpegCamera, source: LiveSource
) -> None:
    frames = [source.read() for _ in range(5)]
    camera.mood = "hung up"
    wait_until(lambda: source.health.state is State.LOST)
    camera.mood = "fine"
    wait_until(lambda: source.health.state is State.OK)
    frames += [source.read() for _ in range(5)]
    times = [frame.time_s for frame in frames if frame]
    numbers = [frame.sequence for frame in frames if frame]
    assert len(times) == 10
    assert times == sorted(set(times))
    assert numbers == sorted(set(numbers))


def test_a_slow_reader_gets_the_newest_picture_and_not_a_queue(source: LiveSource) -> None:
    first = source.read()
    time.sleep(1.0)
    second = source.read()
    assert first is not None
    assert second is not None
    assert second.sequence - first.sequence > 8
    assert second.time_s - first.time_s > 0.8
    assert 8 < source.health.fps < 20


def test_a_small_picture_of_the_same_shape_is_brought_to_the_size_of_the_zones(
    camera: MjpegCamera, source: LiveSource
) -> None:
    camera.mood = "small"
    wait_until(lambda: source.health.state is State.RESIZED)
    assert "160 x 120" in source.health.message
    frame = source.read(2.0)
    assert frame is not None
    assert frame.image.shape == (240, 320, 3)
    camera.mood = "tall"
    wait_until(lambda: "160 x 320" in source.health.message)
    source.read(0.2)
    assert source.read(0.5) is None


def test_a_camera_that_is_not_there_is_lost_and_no_error_and_its_password_stays_secret() -> None:
    source = LiveSource("http://user:secret@127.0.0.1:9/stream", "front")
    wait_until(lambda: source.health.state is State.LOST)
    assert "secret" not in source.health.message
    assert "127.0.0.1:9" in source.health.message
    assert source.read(0.1) is None
    source.stop()
    assert source.health.state is State.ENDED
    assert source.ended


def test_reconnections_wait_longer_each_time_and_burn_no_cpu() -> None:
    attempts: list[float] = []

    def refuse(source: str) -> Device:
        attempts.append(time.monotonic())
        raise CaptureError("nobody there")

    patience = Patience(first_retry_s=0.1, longest_retry_s=0.4)
    cpu, started = time.thread_time(), time.process_time()
    source = LiveSource("rtsp://x", "front", open_device=refuse, patience=patience)
    time.sleep(2.5)
    source.stop()
    waits = np.diff(attempts)
    assert 5 <= len(attempts) <= 9
    assert waits[0] < waits[1] < waits[2]
    assert max(waits) < 0.7
    assert time.process_time() - started - (time.thread_time() - cpu) < 0.5


@pytest.mark.parametrize("where", ["open", "read"])
def test_a_device_that_never_answers_blocks_nobody(where: str) -> None:
    answer = threading.Event()
    opened: list[str] = []

    def block() -> None:
        answer.wait(BLOCKED_S)

    def open_device(source: str) -> Device:
        opened.append(source)
        if where == "open":
            block()
        return FakeDevice(block)

    patience = Patience(stale_s=0.5, stuck_s=1.0, first_retry_s=0.1)
    source = LiveSource("0", "front", open_device=open_device, patience=patience)
    wait_until(lambda: source.health.state is State.LOST)
    wait_until(lambda: len(opened) >= 2)
    time.sleep(3.0)
    assert len(opened) <= 3
    started = time.monotonic()
    source.stop()
    assert time.monotonic() - started < BLOCKED_S / 2
    answer.set()


def test_a_reader_that_waits_is_let_go_by_stop() -> None:
    source = LiveSource("0", "front", open_device=lambda _: FakeDevice(lambda: time.sleep(0.2)))
    frames: list[object] = []
    reader = threading.Thread(target=lambda: frames.extend(source))
    reader.start()
    time.sleep(0.3)
    source.stop()
    reader.join(1.5)
    assert not reader.is_alive()


def test_a_dead_camera_does_not_slow_another() -> None:
    dead = LiveSource("0", "dead", open_device=lambda _: FakeDevice(lambda: time.sleep(BLOCKED_S)))
    alive = LiveSource("1", "alive", open_device=lambda _: FakeDevice(fresh))
    wait_until(lambda: alive.health.state is State.OK)
    started = time.monotonic()
    assert dead.health.state in (State.STARTING, State.LOST)
    frames = [alive.read(0.5) for _ in range(20)]
    assert time.monotonic() - started < BLOCKED_S / 2
    assert None not in frames
    dead.stop()
    alive.stop()


def test_a_looped_file_is_followed_as_a_camera(shared_data: Path) -> None:
    """The clip ends, the connection with it, and the next one starts the clip again."""
    clip = str(shared_data / "video" / "store-aisle-detection.gif")

    class Paced(OpenedVideo):
        def read(self) -> Picture | None:
            time.sleep(0.005)
            return super().read()

    source = LiveSource(
        clip, "front", open_device=Paced, patience=Patience(first_retry_s=0.05, steady_s=0.1)
    )
    frames = [frame for frame in (source.read() for _ in range(120)) if frame is not None]
    source.stop()
    times = [frame.time_s for frame in frames]
    assert frames[-1].sequence > 67
    assert times == sorted(set(times))
