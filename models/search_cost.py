"""Measure what it saves to compare with the centroids first: a decision beside a full search.

Called by evaluation, with the embeddings of its queries. The embedding itself is in neither time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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

_BLOCK = 256
"""Products whose anchors are compared at once: they fit the cache."""


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
    searches = [
        (groups.model_of[name], FullSearch(table))
        for name, table in groups.tables.items()
        if len(table)
    ]
    first, full, same = [], [], []
    for number in np.linspace(0, count - 1, min(count, MOST)).astype(int).tolist():
        embedding = {model: asked[number] for model, asked in rows.items()}
        ruling, seconds = _timed(partial(judge.decide, embedding.__getitem__))
        first.append(seconds)
        nearest, seconds = _timed(partial(_nearest, searches, embedding))
        full.append(seconds)
        same.append(ruling.nearest[0].sku == nearest)
    return SearchCost(
        round(1000 * float(np.median(first)), 4),
        round(1000 * float(np.median(full)), 4),
        round(float(np.mean(same)), 4),
    )


class FullSearch:
    """The nearest product of a table by the centroid and the anchors of every one: exact.

    Anchors are read as they are kept, half precision on the disk, a block of products at a time.
    """

    def __init__(self, table: GroupTable) -> None:
        """Take a table of at least one product."""
        self._table = table
        counts = np.diff(table.offsets)
        self._asked = np.minimum(counts, ANCHORS_ASKED)
        most = np.arange(max(int(counts.max()), ANCHORS_ASKED))
        self._blocks = []
        for start in range(0, len(table), _BLOCK):
            products = slice(start, min(start + _BLOCK, len(table)))
            first, last = table.offsets[products.start], table.offsets[products.stop]
            own = table.offsets[products, None] - first + most
            # Where a product has fewer, behind the block's last.
            places = np.where(most < counts[products, None], own, last - first)
            self._blocks.append((products, slice(first, last), places))

    def nearest(self, embedding: NDArray[np.float32]) -> tuple[float, str]:
        """Return the distance to the nearest product, as `GroupTable.refined` tells it, and it.

        embedding: (D,) float32.
        """
        table, share = self._table, self._table.yardstick.anchors
        similar = np.empty(len(table), np.float32)
        for products, anchors, places in self._blocks:
            each = np.asarray(table.anchors[anchors], np.float32) @ embedding
            each = np.append(each, np.float32(-np.inf))[places]
            top = np.partition(each, -ANCHORS_ASKED, axis=1)[:, -ANCHORS_ASKED:]
            similar[products] = np.where(np.isfinite(top), top, 0.0).sum(axis=1)
        similar *= share / self._asked
        similar += (1.0 - share) * (table.centroids @ embedding) - table.handicaps
        row = int(similar.argmax())
        return 1.0 - float(similar[row]), table.skus[row]


def _nearest(
    searches: Sequence[tuple[str, FullSearch]], embedding: Mapping[str, NDArray[np.float32]]
) -> str:
    return min(search.nearest(embedding[model]) for model, search in searches)[1]


def _timed(ask: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    found = ask()
    return found, time.perf_counter() - started
