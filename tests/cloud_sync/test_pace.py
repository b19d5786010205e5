"""What is under way on lines of any kind: all of it comes, hardly anything twice, in due time."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_sync.device.pace import Pace

LOOK_S = 0.05


@dataclass
class Line:
    """A line with a queue before it, in a time of its own.

    per_s: what it carries. delay_s: there and back. lost: share that gets lost. halt: the other end
    takes nothing between these times.
    """

    per_s: float
    delay_s: float
    lost: float = 0.0
    halt: tuple[float, float] = (0.0, 0.0)

    def moves(self, count: int, pace: Pace, seed: int = 0) -> tuple[float, int]:
        """Move so many; return how long it took and how many were sent in all."""
        chance = random.Random(seed)
        waiting, missing = list(range(count))[::-1], set(range(count))
        comes: list[tuple[float, int]] = []
        now = free_at = 0.0
        sent = 0
        while missing:
            now += LOOK_S
            assert now < 100_000.0, "it comes to an end"
            arrived = [number for at, number in comes if at <= now]
            comes = [one for one in comes if one[0] > now]
            pace.came(arrived, now)
            missing.difference_update(arrived)
            if pace.is_late(now):
                waiting += pace.give_up()[::-1]
            room = max(0, pace.window - len(pace))
            numbers = [waiting.pop() for _ in range(min(room, len(waiting)))]
            for number in (one for one in numbers if one in missing):
                free_at = max(free_at, now) + 1.0 / self.per_s
                sent += 1
                at = free_at + self.delay_s
                if self.halt[0] <= at < self.halt[1]:
                    at = self.halt[1]
                if chance.random() >= self.lost:
                    comes.append((at, number))
            pace.sent([one for one in numbers if one in missing], now)
        return now, sent


def a_pace() -> Pace:
    return Pace(2, 16, 2.0, 60.0)


@settings(deadline=None, max_examples=60)
@given(per_s=st.floats(0.2, 500.0), delay_s=st.floats(0.0, 1.2))
def test_on_a_line_that_loses_nothing_all_comes_in_its_time_and_little_twice(
    per_s: float, delay_s: float
) -> None:
    count = 60
    took_s, sent = Line(per_s, delay_s).moves(count, a_pace())
    # With 16 under way, each look apart, no line is faster than this.
    best_s = max(count / per_s, count / 16 * (delay_s + 2 * LOOK_S))
    assert took_s < 1.5 * best_s + 20 * (delay_s + LOOK_S) + 4.0
    assert sent <= count + 6


@settings(deadline=None, max_examples=40)
@given(
    per_s=st.floats(0.2, 200.0), delay_s=st.floats(0.0, 1.2), lost=st.floats(0.0, 0.3),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_what_a_line_loses_is_sent_again_until_it_comes(
    per_s: float, delay_s: float, lost: float, seed: int
) -> None:
    _, sent = Line(per_s, delay_s, lost).moves(40, a_pace(), seed)
    # The line throws its dice once for each that is sent.
    chance = random.Random(seed)
    came = sum(chance.random() >= lost for _ in range(sent))
    assert 40 <= came <= 40 + 6


@pytest.mark.parametrize("halt_s", [5.0, 60.0])
def test_while_the_other_end_stands_still_next_to_nothing_is_sent(halt_s: float) -> None:
    """A hub whose database is away answers all of it later."""
    took_s, sent = Line(20.0, 0.1, halt=(3.0, 3.0 + halt_s)).moves(400, a_pace())
    assert took_s < 3.0 + halt_s + 1.5 * 400 / 20.0 + 10.0
    assert sent < 400 + 60


def test_one_that_is_lost_among_many_that_come_is_waited_for_no_longer_than_they_take() -> None:
    pace = a_pace()
    pace.sent([0], 0.0)
    for number in range(1, 200):
        now = 0.1 * number
        pace.sent([number], now)
        pace.came([number], now + 0.05)
        if pace.is_late(now + 0.05):
            break
    assert 1.9 < now < 2.5
    assert pace.give_up() == [0]


def test_a_line_that_was_slow_and_is_fast_again_is_used() -> None:
    pace = a_pace()
    slow_s, _ = Line(0.5, 0.1).moves(20, pace)
    assert pace.window == 1 or pace.window == 2
    for _ in range(12):
        pace.sent([1_000], slow_s)
        pace.came([1_000], slow_s + 0.02)
    assert pace.window == 16


def test_what_was_given_up_says_no_more_than_how_slow_the_line_may_be() -> None:
    pace = a_pace()
    pace.sent([1, 2], 0.0)
    assert pace.is_late(2.1)
    assert pace.give_up() == [1, 2]
    pace.sent([1], 2.1)
    pace.came([1], 2.1001)
    assert pace.window == 2, "it may answer the first one: no rate of ten thousand a second"
    assert pace.patience_s > 2.1


def test_a_line_that_broke_and_is_back_is_no_slow_one() -> None:
    pace = a_pace()
    pace.sent([1, 2], 0.0)
    assert pace.forget() == [1, 2]
    pace.sent([1, 2], 50.0)
    pace.came([1], 50.5)
    assert (pace.window, pace.patience_s) == (5, 2.0)
