"""What the gate would see of queries whose answer is known; calibration decides from it.

Queries of a product that is in the table are known ones; the same queries with their own product
passed over are unknown ones, which is the only honest way to have unknown items of the very kind
that is sold. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.search import Search
from models.table import GroupTable
from models.yardstick import NEUTRAL, STRANGER, Yardstick

_NONE = 2.0

_FEW = 0.1
"""Share of the queries whose product may vary less than what is usual."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """N queries as one stage of the gate sees them.

    near: (N, K) ascending distances to the nearest products, filled with 2.0 where there are fewer.
    lead: (N,) of the nearest. spread: (N,) of the nearest product. right: (N,) whether it is the
    product asked for; never, where the item is unknown.
    """

    near: NDArray[np.float32]
    lead: NDArray[np.float32]
    spread: NDArray[np.float32]
    right: NDArray[np.bool_]

    def strangeness(self, yardstick: Yardstick) -> NDArray[np.float32]:
        """Return (N,), what thresholds are compared with."""
        told = [
            yardstick.strangeness([d for d in row if d < _NONE] or [_NONE], spread)
            for row, spread in zip(self.near.tolist(), self.spread.tolist(), strict=True)
        ]
        return np.array(told, np.float32)

    def where(self, mask: NDArray[np.bool_]) -> Stage:
        """Return the queries where mask, (N,), is true."""
        return Stage(self.near[mask], self.lead[mask], self.spread[mask], self.right[mask])


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """N queries as the gate sees them: by centroids, and by the anchors of the nearest products.

    products: (N,) what was asked for, to leave products out by; pictures: (N,) which queries are
    views of one picture, and so say no more than one.
    """

    first: Stage
    second: Stage
    products: NDArray[np.str_]
    pictures: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.products)

    def where(self, mask: NDArray[np.bool_]) -> Evidence:
        """Return the queries where mask, (N,), is true."""
        return Evidence(
            self.first.where(mask),
            self.second.where(mask),
            self.products[mask],
            self.pictures[mask],
        )


def evidence(
    table: GroupTable,
    embeddings: NDArray[np.float32],
    skus: Sequence[str],
    *,
    without_own: bool = False,
    pictures: Sequence[int] | None = None,
) -> Evidence:
    """Compare (N, D) queries of these products with a table.

    without_own: pass each query's own product over, as if it were unknown.
    pictures: which queries are views of one picture; each is its own where not given.
    """
    search = Search(table)
    row_of = {sku: row for row, sku in enumerate(table.skus)}
    spreads = table.spreads
    firsts, seconds = [], []
    for embedding, sku in zip(embeddings, skus, strict=True):
        own = row_of.get(sku, -1)
        rows, distances = search.by_centroid(embedding, leave=own if without_own else -1)
        firsts.append(_seen(search, rows, distances, own, spreads))
        rows, distances = search.by_anchors(embedding, rows)
        seconds.append(_seen(search, rows, distances, own, spreads))
    numbers = range(len(skus)) if pictures is None else pictures
    return Evidence(
        _stage(firsts, search.count),
        _stage(seconds, search.count),
        np.array(skus, np.str_),
        np.array(numbers, np.int64),
    )


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Put the queries of several tables together."""
    width = max(part.first.near.shape[1] for part in parts)
    counted, pictures = 0, []
    for part in parts:
        pictures.append(part.pictures + counted)
        counted += int(part.pictures.max()) + 1 if len(part) else 0
    return Evidence(
        _joined([part.first for part in parts], width),
        _joined([part.second for part in parts], width),
        np.concatenate([part.products for part in parts]),
        np.concatenate(pictures),
    )


def usual(kinds: Sequence[Evidence]) -> tuple[float, float]:
    """Return the usual distance to the crowd around known queries, and what spread is usual.

    kinds: known queries of each kind of goods. The spread is what nearly all products have of the
    kind that varies most.
    """
    near = np.concatenate([known.first.near[:, 1:].ravel() for known in kinds])
    around = near[near < _NONE]
    crowd = float(np.median(around)) if len(around) else STRANGER
    spreads = [known.first.spread[known.first.spread > 0] for known in kinds]
    found = [float(np.quantile(some, _FEW)) for some in spreads if len(some)]
    return max(crowd, 1e-3), max(1e-3, max(found, default=NEUTRAL.usual_spread))


_Seen = tuple[list[float], float, float, bool]


def _seen(
    search: Search, rows: list[int], distances: list[float], own: int, spreads: NDArray[np.float32]
) -> _Seen:
    if not rows:
        return [], 0.0, 0.0, False
    return distances, search.lead(rows, distances), float(spreads[rows[0]]), rows[0] == own


def _stage(seen: Sequence[_Seen], width: int) -> Stage:
    near = np.full((len(seen), max(width, 1)), _NONE, np.float32)
    for row, (distances, *_) in zip(near, seen, strict=True):
        row[: len(distances)] = distances
    return Stage(
        near,
        np.array([s[1] for s in seen], np.float32),
        np.array([s[2] for s in seen], np.float32),
        np.array([s[3] for s in seen], np.bool_),
    )


def _joined(stages: Sequence[Stage], width: int) -> Stage:
    near = [
        np.pad(s.near, ((0, 0), (0, width - s.near.shape[1])), constant_values=_NONE)
        for s in stages
    ]
    return Stage(
        np.concatenate(near),
        np.concatenate([s.lead for s in stages]),
        np.concatenate([s.spread for s in stages]),
        np.concatenate([s.right for s in stages]),
    )
