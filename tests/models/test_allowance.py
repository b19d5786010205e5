"""A product of few pictures is given what its centroid lacks, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.allowance import ENOUGH, allowance, grown
from models.table import normalised

usuals = st.floats(0.0, 2.0)


@given(pictures=st.integers(1, 200), usual=usuals)
def test_more_pictures_never_need_more(pictures: int, usual: float) -> None:
    given_now, given_later = allowance(pictures, usual), allowance(pictures + 1, usual)
    assert 0.0 <= given_later <= given_now < 1.0


@given(pictures=st.integers(ENOUGH, 1000), usual=usuals)
def test_enough_pictures_need_nothing(pictures: int, usual: float) -> None:
    assert allowance(pictures, usual) == 0.0


@given(pictures=st.integers(1, ENOUGH - 1), more=st.integers(0, 30), usual=st.floats(0.02, 0.6))
def test_an_allowance_shrinks_as_if_all_pictures_had_come_at_once(
    pictures: int, more: int, usual: float
) -> None:
    assert grown(allowance(pictures, usual), more, usual) == allowance(pictures + more, usual)


@given(before=st.floats(-1.0, 1.0), more=st.integers(1, 30), usual=usuals)
def test_it_never_grows(before: float, more: int, usual: float) -> None:
    assert 0.0 <= grown(before, more, usual) <= max(before, 0.0)


def test_where_nothing_is_known_of_other_products_nothing_is_given() -> None:
    assert allowance(1, 0.0) == 0.0


@pytest.mark.parametrize("pictures", [1, 2, 4, 8])
def test_it_lies_between_what_look_alikes_lack_and_what_its_own_pictures_lack(
    pictures: int,
) -> None:
    random = np.random.default_rng(pictures)
    middle = normalised(random.normal(size=(1, 256)).astype(np.float32))
    other = normalised(random.normal(size=(1, 256)).astype(np.float32))
    alike = normalised(0.37 * middle + other)

    def shown(of: np.ndarray, count: int) -> np.ndarray:
        noise = random.normal(0.0, 0.05, (count, 256)).astype(np.float32)
        return normalised(of + noise)

    def distance(of: np.ndarray, count: int) -> float:
        found = [
            1.0 - (shown(of, 20) @ normalised(shown(middle, count).mean(axis=0)[None])[0]).mean()
            for _ in range(100)
        ]
        return float(np.mean(found))

    theirs, own = (distance(of, pictures) - distance(of, ENOUGH) for of in (alike, middle))
    assert theirs < allowance(pictures, distance(middle, 400)) < own
