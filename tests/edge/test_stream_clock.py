"""Stream time follows the source where it can be believed, and never goes back."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.stream_clock import LiveClock, StreamClock, sane_fps

STAMPS = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, math.nan, math.inf]), min_size=2)


@given(stamps=STAMPS, fps=st.floats())
def test_time_starts_at_zero_and_always_grows(stamps: list[float], fps: float) -> None:
    clock = StreamClock(fps)
    times = [clock.time_of(stamp) for stamp in stamps]
    assert times[0] == 0
    assert all(earlier < later for earlier, later in pairwise(times))


@given(start=st.floats(-100, 1e5), steps=st.lists(st.floats(0.01, 5).map(lambda s: round(s, 3))))
def test_growing_stamps_are_kept_as_they_are(start: float, steps: list[float]) -> None:
    stamps = [start]
    for step in steps:
        stamps.append(stamps[-1] + step)
    clock = StreamClock(25)
    times = [clock.time_of(stamp) for stamp in stamps]
    assert times == pytest.approx([stamp - start for stamp in stamps], abs=1e-6)


def test_without_stamps_frames_last_as_long_as_their_rate_says() -> None:
    clock = StreamClock(10)
    assert [clock.time_of(0.0) for _ in range(4)] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_stamps_that_come_twice_are_spread() -> None:
    clock = StreamClock(20)
    times = [clock.time_of(stamp) for stamp in (0, 0, 0.1, 0.1, 0.2)]
    assert times == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_a_broken_stamp_does_not_stretch_time() -> None:
    clock = StreamClock(10)
    times = [clock.time_of(stamp) for stamp in (0, 0.1, 95443.7, 95443.8, 0.4, 0.5)]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf, 90000.0])
def test_a_senseless_frame_rate_is_not_believed(fps: float) -> None:
    assert sane_fps(fps) == 25.0


def test_live_time_follows_the_cameras_own_clock_through_a_burst() -> None:
    clock = LiveClock()
    arrivals, stamps = (0.0, 0.1, 0.9, 0.91, 0.92), (50.0, 50.1, 50.2, 50.3, 50.4)
    times = [clock.time_of(a, s) for a, s in zip(arrivals, stamps, strict=True)]
    assert times == pytest.approx([0.001, 0.1, 0.2, 0.3, 0.4], abs=0.002)


def test_live_time_returns_to_arrivals_where_the_cameras_clock_runs_off() -> None:
    clock = LiveClock()
    assert clock.time_of(1.0, 0.0) == pytest.approx(1.0)
    assert clock.time_of(2.0, 30.0) == pytest.approx(2.0)
    assert clock.time_of(3.0, None) == pytest.approx(3.0)
    assert clock.time_of(2.0, None) > 3.0
