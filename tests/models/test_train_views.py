"""What training looks at are pictures as shelves and hands make them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recipe import Recipe, RecipeError
from models.train_views import shelf_view

LIGHT = np.full((90, 60, 3), 200, np.uint8)
DARK = np.zeros((40, 70, 3), np.uint8)


def middle_and_corners(backgrounds: float) -> tuple[float, float]:
    """Return how bright the middle and the corners of a light picture's views are, on average."""
    random, middle, corners = np.random.default_rng(2), [], []
    for _ in range(150):
        view = shelf_view(LIGHT, DARK, random, harsh=0.0, backgrounds=backgrounds)
        height, width = view.shape[0] // 10, view.shape[1] // 10
        middle.append(view[4 * height : 6 * height, 4 * width : 6 * width].mean())
        corners += [view[:height, :width].mean(), view[-height:, -width:].mean()]
    return float(np.mean(middle)), float(np.mean(corners))


def test_before_another_background_the_middle_is_still_the_product() -> None:
    middle, corners = middle_and_corners(1.0)
    assert middle > 150
    assert corners < 0.6 * middle
    middle, corners = middle_and_corners(0.0)
    assert corners > 0.85 * middle


def test_without_other_backgrounds_views_are_drawn_as_ever() -> None:
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(20):
        asked = shelf_view(LIGHT, DARK, one, harsh=0.4, backgrounds=0.0)
        np.testing.assert_array_equal(asked, shelf_view(LIGHT, DARK, other, harsh=0.4))


@given(sides=st.tuples(*[st.integers(2, 50)] * 4), seed=st.integers(0, 999), share=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_of_any_two_pictures_there_is_a_view(
    sides: tuple[int, int, int, int], seed: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    one, other = (random.integers(0, 256, (*size, 3), np.uint8) for size in (sides[:2], sides[2:]))
    view = shelf_view(one, other, random, harsh=share, backgrounds=1.0)
    assert view.ndim == 3
    assert view.dtype == np.uint8
    assert min(view.shape) > 0


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="backgrounds is 2"):
        Recipe(backgrounds=2.0)
