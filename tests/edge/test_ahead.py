"""Working ahead changes when things are made, never what comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from threading import active_count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ahead import ahead


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_everything_comes_once_and_in_order(items: list[int], depth: int) -> None:
    assert list(ahead(items, depth)) == items


def test_a_source_that_fails_fails_here_after_what_it_gave() -> None:
    def broken() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("the cable was pulled")

    items = ahead(broken())
    assert [next(items) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="cable"):
        next(items)


def test_leaving_early_stops_the_source_and_its_thread() -> None:
    made = []

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    before = active_count()
    with closing(ahead(endless(), depth=4)) as items:
        assert next(items) == 0
    assert active_count() == before
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count


def test_no_more_than_the_depth_waits() -> None:
    made = []

    def counted() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with closing(ahead(counted(), depth=4)) as items:
        next(items)
        time.sleep(0.2)
        assert len(made) <= 1 + 4 + 1
