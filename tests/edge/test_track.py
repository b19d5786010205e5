"""One thing keeps one number, across misses, gaps in time and other things beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detect import LABELS, Detection, Label, load_detector
from edge.track import Track, Tracker


def at(x: float, y: float = 50, label: Label = "product", score: float = 0.9) -> Detection:
    return Detection((x, y, x + 40, y + 80), score, label)


def ids(tracks: list[Track]) -> list[int]:
    return [track.id for track in tracks]


def test_a_moving_thing_keeps_its_number_and_a_still_one_its_own() -> None:
    tracker = Tracker()
    seen = [tracker.update([at(10 + 6 * i), at(300)], i / 10) for i in range(20)]
    assert seen[0] == []
    assert all(ids(tracks) == [1, 2] for tracks in seen[1:])
    assert seen[-1][0].box[0] == pytest.approx(10 + 6 * 19)


def test_a_thing_lost_for_a_moment_gets_its_number_back() -> None:
    tracker = Tracker(keep_s=1.0)
    for i in range(5):
        tracker.update([at(100)], i / 10)
    tracker.update([], 0.6)
    assert ids(tracker.update([at(102)], 1.0)) == [1]


def test_a_thing_gone_longer_than_kept_gets_a_new_number() -> None:
    tracker = Tracker(keep_s=0.5)
    for i in range(5):
        tracker.update([at(100)], i / 10)
    tracker.update([], 2.0)
    tracker.update([at(100)], 2.1)
    assert ids(tracker.update([at(100)], 2.2)) == [2]


def test_a_gap_in_time_is_bridged_by_the_speed_of_the_thing() -> None:
    tracker = Tracker(keep_s=2.0)
    for i in range(10):
        tracker.update([at(20 * i)], i / 10)
    assert ids(tracker.update([at(20 * 14)], 1.4)) == [1]


def test_a_weak_detection_continues_a_track_but_begins_none() -> None:
    tracker = Tracker(start_score=0.5)
    for i in range(3):
        tracker.update([at(100), at(400, score=0.35)], i / 10)
    assert ids(tracker.update([at(100, score=0.35), at(400, score=0.35)], 0.3)) == [1]


def test_a_hand_does_not_take_over_the_number_of_what_it_holds() -> None:
    tracker = Tracker()
    for i in range(3):
        tracker.update([at(100, label="product")], i / 10)
    tracks = tracker.update([at(100, label="hand")], 0.3)
    tracks += tracker.update([at(100, label="hand")], 0.4)
    assert [(track.id, track.label) for track in tracks] == [(2, "hand")]


def test_time_only_goes_forward() -> None:
    tracker = Tracker()
    tracker.update([], 1.0)
    with pytest.raises(ValueError, match="goes forward"):
        tracker.update([], 0.5)


@settings(deadline=None, max_examples=25)
@given(
    frames=st.lists(
        st.lists(
            st.builds(
                at,
                st.floats(0, 500),
                st.floats(0, 300),
                st.sampled_from(LABELS),
                st.floats(0.3, 1),
            ),
            max_size=6,
        ),
        max_size=15,
    )
)
def test_what_is_tracked_was_detected_and_no_number_is_used_twice(
    frames: list[list[Detection]],
) -> None:
    tracker, label_of = Tracker(), {}
    for i, detections in enumerate(frames):
        tracks = tracker.update(detections, i / 5)
        assert len(set(ids(tracks))) == len(tracks)
        for track in tracks:
            assert Detection(track.box, track.score, track.label) in detections
            assert label_of.setdefault(track.id, track.label) == track.label


def test_the_bottles_of_the_clip_keep_their_numbers(shared_data: Path) -> None:
    detector, tracker = load_detector("yolox_nano", threads=1), Tracker()
    capture = cv2.VideoCapture(str(shared_data / "video/bottle-detection.mp4"))
    tracks: list[Track] = []
    for i in range(180):
        ok, frame = capture.read()
        assert ok
        if i % 6 == 0:
            tracks = tracker.update(detector.detect(frame), i / 29.83)
    assert ids([track for track in tracks if track.label == "product"]) == [1, 2, 3]


def test_following_loads_neither_torch_nor_a_plotting_library() -> None:
    code = "import sys, edge.track; print(*{'torch', 'matplotlib', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
