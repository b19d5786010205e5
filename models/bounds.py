"""Bound a rate by how often it was seen, so that few figures are trusted little. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left

_HALVINGS = 40


def upper_bound(seen: int, of: int, confidence: float) -> float:
    """Return an upper bound of a rate that was seen `seen` times in `of` tries, in [0, 1].

    The rate at which so few would be seen in 1 - confidence of the cases (Clopper and Pearson
    1934, one-sided). 1.0 where nothing was tried.
    """
    if seen >= of:
        return 1.0
    low, high = seen / of, 1.0
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        low, high = (rate, high) if _so_few(seen, of, rate) > 1.0 - confidence else (low, rate)
    return high


def surely_within(seen: int, of: int, rate: float, confidence: float) -> bool:
    """Return whether `upper_bound` of what was seen is at most rate; quicker than asking for it."""
    return seen < of and seen / of <= rate and _so_few(seen, of, rate) <= 1.0 - confidence


def most_within(of: int, rate: float, confidence: float) -> int:
    """Return the most that may be seen in `of` tries for the rate to hold surely; -1 for none."""
    seen = range(int(rate * of) + 1)
    return bisect_left(seen, True, key=lambda k: not surely_within(k, of, rate, confidence)) - 1


def _so_few(seen: int, of: int, rate: float) -> float:
    """Return the chance of at most `seen` hits in `of` tries."""
    if rate >= 1.0 or rate <= 0.0:
        return float(rate <= 0.0)
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    whole = math.lgamma(of + 1)
    return sum(
        math.exp(
            whole
            - math.lgamma(k + 1)
            - math.lgamma(of - k + 1)
            + k * log_rate
            + (of - k) * log_rest
        )
        for k in range(seen + 1)
    )
