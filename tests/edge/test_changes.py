"""Changed places are found as in the whole picture, however small the part that is looked at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.changes import components, find_regions

STILL = np.full((90, 160), 9.0, np.float32)


@settings(max_examples=80)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.02, 0.7),
    st.tuples(st.integers(0, 70), st.integers(0, 120)),
    st.tuples(st.integers(1, 60), st.integers(1, 90)),
)
def test_components_are_numbered_as_in_the_whole_picture(
    seed: int, dense: float, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    mask = np.zeros(STILL.shape, np.uint8)
    there = mask[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    there[np.random.default_rng(seed).random(there.shape) < dense] = 255
    count, labels, stats = components(mask)
    whole = cv2.connectedComponentsWithStats(mask, connectivity=8)
    assert count == whole[0]
    assert np.array_equal(labels, whole[1])
    assert np.array_equal(stats[1:], whole[2][1:])


@pytest.mark.parametrize("level", [0, 255])
def test_an_empty_and_a_full_picture_are_no_special_case(level: int) -> None:
    changed = np.full(STILL.shape, level, np.uint8)
    found = find_regions(changed, STILL, 12)
    assert [region.box for region in found] == ([(0, 0, 160, 90)] if level else [])
