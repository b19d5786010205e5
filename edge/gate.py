"""Decide which product a crop shows.

The gate compares an embedding with the centroids of one category group. Two thresholds settle most
crops at once; what falls between them is compared with the anchors of the nearest few products.
Where two products are as good as each other the gate does not guess: it asks for a review.
Pure: arrays in, a Decision out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.table import GroupTable, TableError, lead

NEAREST = 5
"""How many products are looked at closely and kept in a decision."""

_FEWEST_BLOCKS = 6
"""In tables too small for so many blocks, all rows are sorted."""


class Verdict(StrEnum):
    """How the gate settled: at once, after the anchors, as unknown, or not at all."""

    ACCEPT = "accept"
    REFINE = "refine"
    REJECT = "reject"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product the gate considered and its cosine distance in [0, 2]."""

    sku: str
    distance: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate made of one embedding.

    sku: the product where verdict is ACCEPT (settled at the centroids) or REFINE (settled by the
        anchors), None where it is REJECT or REVIEW.
    distance: cosine distance in [0, 2] to the nearest candidate; 2.0 for an empty table.
    nearest: candidates, nearest first.
    group: category group that was asked.
    immediate: whether the centroids alone settled it.
    bundle: digest of the bundle that decided, empty where nobody said.
    """

    verdict: Verdict
    sku: str | None
    distance: float
    nearest: tuple[Candidate, ...]
    group: str
    immediate: bool = True
    bundle: str = ""


class Gate:
    """The two-threshold decision over one group's table."""

    def __init__(self, table: GroupTable, group: str = "") -> None:
        """Take a table and the name of its category group, which decisions carry."""
        self._table = table
        self._group = group
        self._centroids = np.asarray(table.centroids)

    @property
    def table(self) -> GroupTable:
        """The table decisions are made with."""
        return self._table

    def decide(self, embedding: NDArray[np.float32]) -> Decision:
        """Decide on one crop.

        embedding: (D,) L2-normalised, from the model this table was built with.
        Raises TableError if D differs from the table's or a value is not finite.
        """
        if embedding.shape != (self._table.dim,):
            raise TableError(
                f"embedding of shape {embedding.shape}, table of {self._table.dim} dimensions"
            )
        # Row by row and in this thread: a threaded product waits for cores the detector has.
        similarities = np.vecdot(self._centroids, embedding)
        return self._settle(embedding, similarities, nearest_rows(similarities, NEAREST))

    def decide_many(self, embeddings: NDArray[np.float32]) -> list[Decision]:
        """Decide on each row of (N, D), exactly as `decide` would. Raises TableError."""
        return [self.decide(np.asarray(row)) for row in embeddings]

    def _settle(
        self,
        embedding: NDArray[np.float32],
        similarities: NDArray[np.float32],
        rows: NDArray[np.int64],
    ) -> Decision:
        found = similarities[rows]
        if not np.isfinite(found).all():
            raise TableError("embedding has a value that is not finite")
        distances = _distances(found)
        if not len(rows):
            return self._decision(Verdict.REJECT, rows, distances, immediate=True)
        limits = self._table.thresholds
        if distances[0] > limits.th:
            return self._decision(Verdict.REJECT, rows, distances, immediate=True)
        if distances[0] < limits.tl and lead(distances) >= limits.margin:
            return self._decision(Verdict.ACCEPT, rows, distances, immediate=True)
        return self._refine(embedding, rows)

    def _refine(self, embedding: NDArray[np.float32], rows: NDArray[np.int64]) -> Decision:
        """Compare with the anchors of the nearest products."""
        by_anchor = self._table.refined(embedding, rows)
        order = np.argsort(by_anchor, kind="stable")
        rows, by_anchor = rows[order], by_anchor[order]
        limits = self._table.thresholds
        if by_anchor[0] > limits.th:
            verdict = Verdict.REJECT
        elif by_anchor[0] < limits.anchor_accept and lead(by_anchor) >= limits.anchor_margin:
            verdict = Verdict.REFINE
        else:
            verdict = Verdict.REVIEW
        return self._decision(verdict, rows, by_anchor, immediate=False)

    def _decision(
        self,
        verdict: Verdict,
        rows: NDArray[np.int64],
        distances: NDArray[np.float32],
        *,
        immediate: bool,
    ) -> Decision:
        nearest = tuple(
            Candidate(self._table.skus[row], float(distance))
            for row, distance in zip(rows.tolist(), distances, strict=True)
        )
        known = verdict in (Verdict.ACCEPT, Verdict.REFINE)
        return Decision(
            verdict=verdict,
            sku=nearest[0].sku if known else None,
            distance=nearest[0].distance if nearest else 2.0,
            nearest=nearest,
            group=self._group,
            immediate=immediate,
        )


def nearest_rows(similarities: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the rows of the count greatest of (P,) similarities, greatest first, earlier on ties.

    Exact. Looks at the maxima of blocks first, since sorting all of a large table costs more than
    multiplying it.
    """
    size = len(similarities)
    # Balances the maxima to sort through against the rows of the blocks that stay.
    blocks = int((size / count) ** 0.5)
    if blocks < _FEWEST_BLOCKS:
        return np.argsort(-similarities, kind="stable")[:count]
    columns = size // blocks
    whole = columns * blocks
    maxima = similarities[:whole].reshape(blocks, columns).max(axis=0)
    # A row that ties with the last place must be found too, wherever it stands.
    bar = np.partition(maxima, columns - count)[columns - count]
    rows = np.flatnonzero(maxima >= bar)
    rows = (rows + columns * np.arange(blocks)[:, None]).ravel()
    if whole < size:
        rows = np.concatenate([rows, np.arange(whole, size)])
    return rows[np.argsort(-similarities[rows], kind="stable")[:count]]


def _distances(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn cosine similarities into distances, without rounding's excess beyond [0, 2]."""
    return np.asarray(np.clip(1.0 - similarities, 0.0, 2.0), np.float32)
