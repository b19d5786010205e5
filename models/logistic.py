"""Fit how likely something is from a few numbers: logistic regression with a ridge. Pure.

Calibration uses it to tell how often an accept will be wrong from all queries, where the few that
were wrong are too few to count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_STEPS = 30
_RIDGE = 1.0

Likely = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def fit_logistic(
    rows: NDArray[np.float64], happened: NDArray[np.bool_], weight: NDArray[np.float64]
) -> Likely:
    """Return a function from (M, F) numbers to (M,) likelihoods in (0, 1).

    rows: (N, F). happened, weight: (N,). Newton's method; with nothing to tell apart the likelihood
    is the same everywhere, with half a case of either kind added.
    """
    middle, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    hits, total = float(weight[happened].sum()), float(weight.sum())
    usual = (hits + 0.5) / (total + 1.0)
    factors = np.zeros(rows.shape[1] + 1)
    factors[0] = np.log(usual / (1.0 - usual))
    held = np.diag([0.0] + [_RIDGE] * rows.shape[1])

    def extended(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([np.ones(len(values)), (values - middle) / scale])

    def likely(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(extended(values) @ factors, -30, 30))))

    if not 0.0 < hits < total:
        return likely
    inside = extended(rows)
    for _ in range(_STEPS):
        found = likely(rows)
        curve = weight * found * (1.0 - found) + 1e-6
        slope = inside.T @ (weight * (happened - found)) - held @ factors
        step = np.linalg.solve(inside.T @ (inside * curve[:, None]) + held, slope)
        factors = factors + step
        if np.abs(step).max() < 1e-6:
            break
    return likely
