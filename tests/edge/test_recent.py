"""When an item left or came, told from the last seconds' pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.recent import Recent

Grey = NDArray[np.uint8]
STEP_S = 0.1


def places() -> tuple[Grey, Grey, Grey]:
    """A place with an item, without it, and hidden by a hand."""
    random = np.random.default_rng(3)
    empty = np.full((60, 60), 90, np.uint8)
    full = empty.copy()
    full[15:45, 20:40] = random.integers(30, 220, (30, 20))
    hidden = np.asarray(random.integers(100, 255, (60, 60)), np.uint8)
    return full, empty, hidden


def watched(pictures: list[Grey]) -> Recent:
    recent = Recent(20.0, 0.06)
    for index, picture in enumerate(pictures):
        recent.add(picture, index * STEP_S)
    return recent


def changed(full: Grey, empty: Grey) -> NDArray[np.bool_]:
    return np.asarray(full != empty)


def test_an_item_left_when_it_was_last_seen_and_came_when_it_was_first_seen() -> None:
    full, empty, hidden = places()
    where = changed(full, empty)
    taken = watched([full] * 20 + [hidden] * 3 + [empty] * 20)
    assert taken.left_at(full.astype(np.float32), empty.astype(np.float32), where) == pytest.approx(
        1.9, abs=0.35
    )
    put = watched([empty] * 20 + [hidden] * 3 + [full] * 20)
    assert put.arrived_at(
        empty.astype(np.float32), full.astype(np.float32), where
    ) == pytest.approx(2.3, abs=0.35)


def test_an_item_that_went_and_came_came_the_last_time() -> None:
    full, empty, hidden = places()
    clip = [full] * 60 + [hidden] * 2 + [empty] * 30 + [hidden] * 2 + [full] * 10
    came = watched(clip).arrived_at(
        empty.astype(np.float32), full.astype(np.float32), changed(full, empty)
    )
    assert came == pytest.approx(9.4, abs=0.35)


@pytest.mark.parametrize("kind", ["pick", "return"])
def test_a_coat_in_front_of_a_full_row_is_no_change_yet(kind: str) -> None:
    front, _, _ = places()
    behind = front.copy()
    behind[15:45, 20:40] = 0.6 * behind[15:45, 20:40] + 0.4 * front[15:45, 20:40][::-1, ::-1]
    coat = np.full_like(front, 40)
    before, after = (front, behind) if kind == "pick" else (behind, front)
    seen = watched([before] * 20 + [coat] * 30 + [after] * 20)
    at = seen.left_at if kind == "pick" else seen.arrived_at

    time_s = at(before.astype(np.float32), after.astype(np.float32), changed(front, behind))

    assert time_s == pytest.approx(3.5, abs=1.0)


def test_a_place_that_was_never_seen_before_tells_no_time() -> None:
    full, empty, hidden = places()
    assert (
        watched([hidden] * 10 + [empty] * 5).left_at(
            full.astype(np.float32), empty.astype(np.float32), changed(full, empty)
        )
        is None
    )
