"""Categories that look alike share a group, groups keep their bounds, and newcomers find theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.grouping import (
    Bounds,
    Category,
    Grouping,
    categories_of,
    group_categories,
    joining,
)
from models.grouping_report import dendrogram, grouping_page
from models.table import normalised
from tests.models.a_table import directions

pytest.importorskip("sklearn")

KINDS = directions(3, 16, seed=1)


def near(kind: int, seed: int, spread: float = 0.1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread, 16)
    return normalised((KINDS[kind] + noise)[None].astype(np.float32))[0]


def a_grouping(most: int = 12, least: int = 3) -> Grouping:
    categories = [
        Category(f"{'abc'[kind]}{number}", 3, near(kind, 10 * kind + number))
        for kind in range(3)
        for number in range(4)
    ]
    return group_categories(categories, Bounds(least, most))


def test_categories_that_look_alike_share_a_group() -> None:
    groups = {frozenset(group.categories) for group in a_grouping().groups}
    assert groups == {frozenset(f"{kind}{n}" for n in range(4)) for kind in "abc"}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 9999), most=st.integers(5, 40), least=st.integers(1, 5))
def test_groups_hold_every_category_once_and_no_more_than_allowed(
    seed: int, most: int, least: int
) -> None:
    random = np.random.default_rng(seed)
    categories = [
        Category(f"c{number}", int(random.integers(1, 9)), row)
        for number, row in enumerate(directions(int(random.integers(1, 12)), 8, seed))
    ]
    grouping = group_categories(categories, Bounds(least, most))
    found = sorted(name for group in grouping.groups for name in group.categories)
    assert found == sorted(category.name for category in categories)
    for group in grouping.groups:
        assert group.products <= most or len(group.categories) == 1


def test_a_small_group_joins_the_nearest_that_has_room() -> None:
    categories = [
        Category("many", 8, near(0, 1)),
        Category("few", 1, near(1, 2)),
        Category("others", 8, near(2, 3)),
    ]
    groups = group_categories(categories, Bounds(4, 9)).groups
    assert sorted(group.products for group in groups) == [8, 9]


def test_a_new_category_joins_the_nearest_group_or_needs_a_new_one() -> None:
    grouping = a_grouping(most=20)
    joined = joining(grouping, Category("new", 2, near(1, 99)))
    assert joined.group == grouping.group_of("b0").name
    strange = joining(grouping, Category("strange", 2, -KINDS.mean(axis=0)))
    assert strange.group is None
    assert "looks like no group" in strange.reason
    large = joining(grouping, Category("large", 19, near(1, 99)))
    assert large.group is None
    assert "no room" in large.reason


def test_each_product_counts_the_same_in_its_category() -> None:
    rows = np.concatenate([np.repeat(KINDS[:1], 9, axis=0), KINDS[1:2]])
    (category,) = categories_of(rows, ["x"] * 9 + ["y"], {"x": "all", "y": "all"})
    assert category.products == 2
    assert category.middle @ KINDS[0] == pytest.approx(category.middle @ KINDS[1], abs=1e-5)


def test_bounds_that_fit_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="least must be"):
        Bounds(5, 4)


def test_the_page_shows_the_tree_and_the_groups(tmp_path: Path) -> None:
    grouping = a_grouping()
    drawn = dendrogram(grouping)
    assert drawn.count("<polyline") == len(grouping.categories) - 1
    page = grouping_page(grouping, {"sku-1": [tmp_path / "none.jpg"]}, {"sku-1": "a0"}, "told")
    assert all(category.name in page for category in grouping.categories)
    assert "sku-1" in page
