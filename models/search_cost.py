"""Measure what it saves to compare with the centroids first: a decision beside a full search.

Called by evaluation, with the embeddings of its queries. The embedding itself is in neither time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.asks import DecidesAmong
from models.groups import Groups

T = TypeVar("T")

MOST = 100
"""Queries that are timed, evenly spread over those there are."""


@dataclass(frozen=True, slots=True)
class SearchCost:
    """Median times of a query, and what they come to.

    decision_ms: to decide as a device does, centroids first, in milliseconds. all_anchors_ms: to
    compare with the centroid and the anchors of every product of every group. same_product: share
    of the queries for which both find the same product nearest.
    """

    decision_ms: float
    all_anchors_ms: float
    same_product: float


def search_cost(
    rows: Mapping[str, NDArray[np.float32]], groups: Groups, judge: DecidesAmong
) -> SearchCost | None:
    """Time queries both ways, in turns; None where there are none.

    rows: (N, D) of the queries by the model's name.
    """
    count = min(map(len, rows.values()), default=0)
    if not count or not len(groups):
        return None
    first, full, same = [], [], []
    for number in np.linspace(0, count - 1, min(count, MOST)).astype(int).tolist():
        embedding = {model: found[number] for model, found in rows.items()}
        ruling, seconds = _timed(partial(judge.decide, embedding.__getitem__))
        first.append(seconds)
        nearest, seconds = _timed(partial(nearest_of_all, embedding, groups))
        full.append(seconds)
        same.append(ruling.nearest[0].sku == nearest)
    return SearchCost(
        round(1000 * float(np.median(first)), 4),
        round(1000 * float(np.median(full)), 4),
        round(float(np.mean(same)), 4),
    )


def nearest_of_all(embedding: Mapping[str, NDArray[np.float32]], groups: Groups) -> str:
    """Return the nearest product of at least one, told by its centroid and anchors.

    embedding: (D,) of the item in question by the model's name.
    """
    found: list[tuple[float, str]] = []
    for name, table in groups.tables.items():
        distances = table.refined(embedding[groups.model_of[name]], range(len(table)))
        found += zip(distances, table.skus, strict=True)
    return min(found)[1]


def _timed(ask: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    found = ask()
    return found, time.perf_counter() - started
