"""Arms that reach in from the picture's edge and rest there are waited for, and are no items."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.edge import clips

Picture = NDArray[np.uint8]
Point = tuple[int, int]
FPS = 15.0
ABOVE, BELOW = (170, 60), (230, 200)


def shelf(missing: Point | None = None) -> Picture:
    """Three boards of printed boxes, of which one may be missing."""
    random = np.random.default_rng(7)
    picture = np.full((270, 480, 3), (90, 100, 108), np.uint8)
    for top in (60, 130, 200):
        for left in range(50, 420, 60):
            colour = [int(value) for value in random.integers(60, 230, 3)]
            print_colour = [int(value) for value in random.integers(60, 230, 3)]
            if (left, top) == missing:
                continue
            cv2.rectangle(picture, (left, top), (left + 40, top + 50), colour, -1)
            cv2.rectangle(picture, (left + 8, top + 15), (left + 32, top + 28), print_colour, -1)
    return picture


def reached(picture: Picture, start: Point, hand: Point) -> Picture:
    """The picture with an arm in a dark sleeve from start, outside the picture, to a hand."""
    with_arm = picture.copy()
    cv2.line(with_arm, start, hand, (42, 38, 36), 18)
    cv2.circle(with_arm, hand, 15, (120, 150, 205), -1)
    return with_arm


@pytest.fixture(params=[(290, 300), (510, 230), (-30, 200)], ids=["below", "right", "left"])
def start(request: pytest.FixtureRequest) -> Point:
    """Where an arm comes from."""
    point: Point = request.param
    return point


@pytest.mark.parametrize("rests_s", [0.7, 1.5, 4.0])
def test_an_arm_that_rests_over_the_shelf_and_goes_is_no_event(
    start: Point, rests_s: float
) -> None:
    before = shelf()
    held = [reached(before, start, (190, 85))] * round(rests_s * FPS)
    assert clips.shelf_events([before] * 30 + held + [before] * 90, FPS) == []


@pytest.mark.parametrize("rests_s", [0.7, 1.5])
def test_what_a_resting_arm_takes_is_one_pick(start: Point, rests_s: float) -> None:
    before, after = shelf(), shelf(missing=ABOVE)
    held = [reached(before, start, (190, 85))] * round(rests_s * FPS)
    events = clips.shelf_events([before] * 30 + held + [after] * 90, FPS)
    assert [event.kind for event in events] == ["pick"]
    x1, y1, x2, y2 = events[0].box
    assert x1 < 190 < x2
    assert y1 < 85 < y2


def test_an_item_whose_shadow_reaches_the_edge_is_an_event() -> None:
    before, after = shelf(missing=BELOW), shelf()
    after[251:, 232:270] = (after[251:, 232:270] * 0.8).astype(np.uint8)
    events = clips.shelf_events([before] * 30 + [after] * 90, FPS)
    assert [event.kind for event in events] == ["return"]


def test_the_foot_of_what_a_hand_turns_is_no_item() -> None:
    bare = np.full((270, 480, 3), (150, 158, 160), np.uint8)
    bare[215:] = (196, 200, 205)
    standing = bare.copy()
    cv2.rectangle(standing, (200, 90), (250, 235), (150, 120, 90), -1)
    turned = standing.copy()
    for picture, lefts in ((standing, (202, 226)), (turned, (214, 238))):
        for left in lefts:
            cv2.rectangle(picture, (left, 212), (left + 10, 233), (90, 30, 20), -1)
    held = [reached(turned, (225, -20), (225, 90))] * round(2.0 * FPS)
    events = clips.shelf_events([standing] * 30 + held + [bare] * 60, FPS)
    assert [event.kind for event in events] == ["pick"]
    x1, y1, x2, y2 = events[0].box
    assert y2 - y1 > 100
    assert x1 < 225 < x2
