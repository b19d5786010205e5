"""The shelf on real footage: what was taken and what came back, without any detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.background import Background
from tests.edge import clips
from tests.edge.clips import FPS, Expected, Pictures

VARIANTS: dict[str, Any] = {
    "as it is": lambda clip, events: (clip, events),
    "mirrored": clips.mirrored,
    "backwards": clips.backwards,
    "320x180": clips.each(lambda image, _: cv2.resize(image, (320, 180))),
    "darkened": clips.each(clips.darkened),
    "darkened and mirrored": lambda clip, events: clips.mirrored(
        [clips.darkened(image, 0) for image in clip], events
    ),
    "noisy": clips.each(clips.noisy),
    "shaken": clips.each(clips.shaken),
    "shaken now and then": clips.each(
        lambda image, n: clips.shaken(image, n) if n // 100 % 2 else image
    ),
    "fading light": clips.each(clips.fading),
}


@pytest.fixture(scope="module")
def bottles(shared_data: Path) -> tuple[Pictures, list[Expected]]:
    """The clip and its truth."""
    clip = clips.pictures(shared_data / "video" / "bottle-detection.mp4")
    return clip, clips.truth(shared_data)


@pytest.mark.parametrize("name", VARIANTS)
def test_eight_bottle_events_and_nothing_else(
    bottles: tuple[Pictures, list[Expected]], name: str
) -> None:
    clip, expected = VARIANTS[name](*bottles)
    events = clips.shelf_events(clip, FPS)
    assert clips.unmatched(events, expected, clip[0].shape[1]) == []


def test_ten_frames_a_second_are_enough(bottles: tuple[Pictures, list[Expected]]) -> None:
    clip, expected = bottles
    events = clips.shelf_events(clip[::3], FPS / 3)
    assert clips.unmatched(events, expected, 640) == []


def test_a_reencoded_clip_gives_the_same_events(
    bottles: tuple[Pictures, list[Expected]], tmp_path: Path
) -> None:
    clip, expected = clips.reencoded(*bottles, tmp_path / "small.mp4")
    assert clips.unmatched(clips.shelf_events(clip, FPS), expected, 640) == []


def test_shoppers_who_only_handle_things_are_no_event(shared_data: Path) -> None:
    clip = clips.pictures(shared_data / "video" / "store-aisle-detection.gif")
    assert clips.shelf_events(clip, 16.67) == []


def test_a_light_that_is_switched_is_no_event() -> None:
    shelf = np.full((180, 320, 3), 120, np.uint8)
    cv2.rectangle(shelf, (60, 40), (100, 140), (40, 60, 200), -1)
    cv2.rectangle(shelf, (160, 40), (220, 140), (200, 60, 40), -1)
    dark = (shelf * 0.6).astype(np.uint8)
    assert clips.shelf_events([shelf] * 30 + [dark] * 40 + [shelf] * 40, 15.0) == []


def test_a_thing_that_vanishes_was_picked_and_one_that_appears_came_back() -> None:
    bare = np.full((180, 320, 3), 120, np.uint8)
    full = bare.copy()
    cv2.rectangle(full, (60, 40), (100, 140), (40, 60, 200), -1)
    events = clips.shelf_events([full] * 30 + [bare] * 40 + [full] * 40, 15.0)
    assert [event.kind for event in events] == ["pick", "return"]
    assert all(event.box[0] <= 80 <= event.box[2] for event in events)


def test_a_hand_before_a_shelf_that_stays_as_it_is_costs_few_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[float] = []
    compare = Background.difference

    def counted(self: Background) -> NDArray[np.float32]:
        compared.append(self.moved_s.max())
        return compare(self)

    monkeypatch.setattr(Background, "difference", counted)
    bare = np.full((180, 320, 3), 120, np.uint8)
    hands = []
    for n in range(120):
        hands.append(bare.copy())
        x = 60 + (7 * n) % 160
        cv2.rectangle(hands[-1], (x, 0), (x + 30, 90), (90, 120, 190), -1)
    assert clips.shelf_events([bare] * 60 + hands, 30.0) == []
    while_moving = [time_s for time_s in compared if time_s >= 2.0]
    assert 8 <= len(while_moving) <= 20, "four seconds, a settling time of 0.3 s, checks of 0.1 s"


@pytest.mark.parametrize(("solid", "kinds"), [(True, ["return", "pick"]), (False, [])])
def test_a_small_thing_is_an_event_and_a_seam_of_the_codec_beside_an_edge_is_none(
    solid: bool, kinds: list[str]
) -> None:
    bare = np.full((360, 640, 3), 120, np.uint8)
    there = bare.copy()
    cv2.rectangle(there, (300, 150), (330, 204), (160, 100, 60), -1)
    if not solid:
        there[150:200, 304:] = bare[150:200, 304:]
    events = clips.shelf_events([bare] * 30 + [there] * 40 + [bare] * 40, 15.0)
    assert [event.kind for event in events] == kinds


def test_what_leaves_soon_after_a_lamp_was_switched_is_a_pick_though_somebody_keeps_moving() -> (
    None
):
    random = np.random.default_rng(3)
    shelf = np.full((180, 320, 3), 120, np.uint8)
    for left in range(20, 300, 40):
        colour = [int(value) for value in random.integers(40, 220, 3)]
        cv2.rectangle(shelf, (left, 40), (left + 24, 140), colour, -1)
        cv2.rectangle(shelf, (left + 6, 70), (left + 18, 90), colour[::-1], -1)
    bare = shelf.copy()
    cv2.rectangle(bare, (60, 40), (84, 140), (120, 120, 120), -1)
    lamp = np.linspace(0.45, 0.8, 320)[None, :, None]

    def lit(picture: clips.Picture, number: int) -> clips.Picture:
        seen = np.asarray(picture * lamp, np.uint8)
        cv2.circle(seen, (260 + number % 7 * 8, 170), 12, (20, 30, 60), -1)
        return seen

    after = [lit(shelf, number) for number in range(25)]
    gone = [lit(bare, number) for number in range(45)]
    events = clips.shelf_events([shelf] * 30 + after + gone, 15.0)
    assert [event.kind for event in events] == ["pick"]
    assert 50 < events[0].box[0] < events[0].box[2] < 95
