"""Planes give what the plain operations on whole pictures give."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edge.planes import (
    extremes,
    grey_of,
    level_counts,
    median_level,
    middle,
    picture_of,
    planes_of,
    smoothed,
)
from edge.translate import translate

SEEN = np.random.default_rng(3).integers(0, 256, (91, 143, 3), np.uint8)


def test_a_picture_comes_back_from_its_planes() -> None:
    assert np.array_equal(picture_of(planes_of(SEEN)), SEEN)


def test_grey_and_extremes_are_those_of_the_picture() -> None:
    planes = planes_of(SEEN)
    assert np.abs(grey_of(planes) - cv2.cvtColor(SEEN, cv2.COLOR_BGR2GRAY)).max() <= 0.51
    least, greatest = extremes(planes)
    assert np.array_equal(least, SEEN.min(axis=2))
    assert np.array_equal(greatest, SEEN.max(axis=2))


@pytest.mark.parametrize("size", [(270, 480), (181, 321), (60, 90)])
@pytest.mark.parametrize("sigma", [3.0, 8.0])
def test_a_blur_at_half_size_is_the_blur_up_to_the_borders(
    size: tuple[int, int], sigma: float
) -> None:
    noise = np.random.default_rng(5).normal(0, 60, size).astype(np.float32)
    plane = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.2), np.float32)
    plane[:, : size[1] // 3] += 120
    exact = cv2.GaussianBlur(plane, (0, 0), sigma)
    assert np.abs(smoothed(plane, sigma) - exact).max() < (0.25 if sigma > 5 else 1.5)


@settings(max_examples=60)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_the_median_of_levels_is_the_median(levels: NDArray[np.uint8]) -> None:
    assert median_level(level_counts(levels)) == np.median(levels)


@settings(max_examples=60)
@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(-9, 9, width=32)))
def test_the_middle_is_the_upper_median(values: NDArray[np.float32]) -> None:
    assert middle(values) == np.sort(values)[len(values) // 2]


@settings(max_examples=40, deadline=None)
@given(st.floats(-4, 4), st.floats(-4, 4), st.booleans())
def test_a_translation_is_the_warp_by_as_much(x: float, y: float, grey: bool) -> None:
    image: NDArray[Any] = cv2.GaussianBlur(SEEN[..., 0] if grey else SEEN, (0, 0), 2)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    warped = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    moved = translate(image, x, y)
    assert moved.dtype == np.uint8
    # A warp finds places to a thirty-second of a pixel.
    assert np.abs(moved.astype(int) - warped.astype(int)).max() <= 2


def test_what_is_moved_by_nothing_is_not_copied() -> None:
    assert translate(SEEN, 0.01, -0.01) is SEEN
