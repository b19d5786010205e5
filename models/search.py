"""Find the products of a table that lie nearest to an embedding: exact, in one thread.

Used by the gate for every crop, and by calibration, which must see what the gate sees.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.table import GroupTable, TableError
from models.yardstick import lead

NEAREST = 5
"""How many products are looked at closely."""

_ROWS = 32
"""Rows multiplied at once: so few that the library does not wake other threads for them. Those wait
for cores the detector has, which costs more than they bring."""

_SMALL = 4096
"""Tables beyond this do not fit the cache: memory sets the pace, and plain rows are as good."""


class Search:
    """Nearest products by their centroids, and among those by their anchors.

    count: how many are found.
    """

    def __init__(self, table: GroupTable, nearest: int = NEAREST) -> None:
        """Take a table and how many products to find."""
        self._table = table
        self.count = min(nearest, len(table))
        centroids = np.asarray(table.centroids)
        self._large = centroids if len(table) > _SMALL else None
        whole = len(table) // _ROWS * _ROWS
        self._shape, self._whole = (table.dim,), whole
        self._blocks = centroids[:whole].reshape(-1, _ROWS, table.dim)
        self._rest = centroids[whole:]
        self._handicaps = np.asarray(table.handicaps) if np.any(table.handicaps) else None
        doubts = table.yardstick.doubt * np.maximum(-np.asarray(table.handicaps), 0.0)
        self._doubts = doubts.tolist() if doubts.any() else None

    def similarities(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return cosine similarities, less the products' handicaps, (P,)."""
        found = np.empty(len(self._table), np.float32)
        if self._large is not None:
            np.vecdot(self._large, embedding, out=found)
        else:
            whole = self._whole
            np.matmul(self._blocks, embedding, out=found[:whole].reshape(-1, _ROWS))
            if whole < len(found):
                np.dot(self._rest, embedding, out=found[whole:])
        if self._handicaps is not None:
            found -= self._handicaps
        return found

    def by_centroid(
        self, embedding: NDArray[np.float32], leave: int = -1
    ) -> tuple[list[int], list[float]]:
        """Return rows of the nearest products and their distances in [0, 2], nearest first.

        embedding: (D,) float32. leave: a row to pass over, -1 for none.
        Raises TableError for a value that is not finite, or another dimension.
        """
        if embedding.shape != self._shape:
            raise TableError(
                f"embedding of shape {embedding.shape}, table of {self._table.dim} dimensions"
            )
        similar = self.similarities(embedding)
        count = self.count
        if leave >= 0:
            similar[leave] = -np.inf
            count = min(count, len(similar) - 1)
        rows, found = greatest(similar, count)
        # A value that is not finite is found first, or makes all others so; the distances are
        # without rounding's excess beyond [0, 2].
        if rows and not -9.0 < found[0] < 9.0:
            raise TableError("embedding has a value that is not finite")
        return rows, [min(max(1.0 - value, 0.0), 2.0) for value in found]

    def by_anchors(
        self, embedding: NDArray[np.float32], rows: list[int]
    ) -> tuple[list[int], list[float]]:
        """Return the same rows and their distances by centroid and anchors, nearest first."""
        found = self._table.refined(embedding, rows)
        order = sorted(range(len(rows)), key=found.__getitem__)
        return [rows[place] for place in order], [found[place] for place in order]

    def lead(self, rows: list[int], distances: list[float]) -> float:
        """Return the lead that the first of some products has over the others.

        rows, distances: at least one, nearest first. A product that is known by little may lie
        nearer than it seems (`models.allowance`), and so has to be led by more.
        """
        if self._doubts is None:
            return lead(distances)
        return lead(distances, [self._doubts[row] for row in rows])


def greatest(similar: NDArray[np.float32], count: int) -> tuple[list[int], list[float]]:
    """Return the places of the count greatest values, greatest first, earlier on ties; and those.

    similar: (P,), which is spoilt. Passes over it count times, which costs less than sorting as
    long as count is small.
    """
    rows, found = [], []
    for _ in range(min(count, len(similar))):
        row = int(similar.argmax())
        rows.append(row)
        found.append(float(similar[row]))
        similar[row] = -np.inf
    return rows, found
