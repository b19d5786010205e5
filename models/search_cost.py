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
from models.table import ANCHORS_ASKED, GroupTable

T = TypeVar("T")

MOST = 100
"""Queries that are timed, evenly spread over those there are."""


@dataclass(frozen=True, slots=True)
class SearchCost:
    """Median times of a query, and what they come to.

    decision_ms: to decide as a device does, centroids first, in milliseconds. all_anchors_ms: to
    compare with the centroid and the anchors of every product of every group, all at once and with
    everything at hand in the form that is quickest. same_product: share of the queries for which
    both find the same product nearest.
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
    whole = {name: _Whole.of(table) for name, table in groups.tables.items() if len(table)}
    first, full, same = [], [], []
    for number in np.linspace(0, count - 1, min(count, MOST)).astype(int).tolist():
        embedding = {model: found[number] for model, found in rows.items()}
        ruling, seconds = _timed(partial(judge.decide, embedding.__getitem__))
        first.append(seconds)
        nearest, seconds = _timed(partial(_nearest_of_all, whole, embedding, groups))
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
    whole = {name: _Whole.of(table) for name, table in groups.tables.items() if len(table)}
    return _nearest_of_all(whole, embedding, groups)


@dataclass(frozen=True, slots=True, eq=False)
class _Whole:
    """A table as it is compared with at once.

    anchors: (A, D) float32. places: (P, M) which of them are a product's, A where it has fewer.
    asked: (P,) how many of them tell it.
    """

    table: GroupTable
    anchors: NDArray[np.float32]
    places: NDArray[np.int64]
    asked: NDArray[np.int64]

    @classmethod
    def of(cls, table: GroupTable) -> _Whole:
        counts = np.diff(table.offsets)
        most = max(int(counts.max()), ANCHORS_ASKED)
        places = table.offsets[:-1, None] + np.arange(most)
        places[np.arange(most) >= counts[:, None]] = len(table.anchors)
        anchors = np.asarray(table.anchors, np.float32)
        return cls(table, anchors, places, np.minimum(counts, ANCHORS_ASKED))

    def nearest(self, embedding: NDArray[np.float32]) -> tuple[float, str]:
        """Return the distance to the nearest product, as `GroupTable.refined` tells it, and it."""
        share = self.table.yardstick.anchors
        similar = np.append(self.anchors @ embedding, np.float32(-np.inf))[self.places]
        top = np.partition(similar, -ANCHORS_ASKED, axis=1)[:, -ANCHORS_ASKED:]
        told = np.where(np.isfinite(top), top, 0.0).sum(axis=1) / self.asked
        told = share * told + (1.0 - share) * (self.table.centroids @ embedding)
        told -= self.table.handicaps
        row = int(told.argmax())
        return 1.0 - float(told[row]), self.table.skus[row]


def _nearest_of_all(
    whole: Mapping[str, _Whole], embedding: Mapping[str, NDArray[np.float32]], groups: Groups
) -> str:
    return min(one.nearest(embedding[groups.model_of[name]]) for name, one in whole.items())[1]


def _timed(ask: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    found = ask()
    return found, time.perf_counter() - started
