"""Decide which product a crop shows.

The gate compares an embedding with the centroids of one category group. Two thresholds settle most
crops at once; what falls between them is compared with the anchors of the nearest few products.
What the thresholds are compared with is the distance as the table's yardstick tells it.
Where two products are as good as each other the gate does not guess: it asks for a review.
Pure: arrays in, a Decision out. Decisions are msgspec's structs because to make dataclasses would
cost as much as to search a thousand products.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.search import NEAREST, Search
from models.table import GroupTable

__all__ = ["NEAREST", "Candidate", "Decision", "Gate", "Verdict"]


class Verdict(StrEnum):
    """How the gate settled: at once, after the anchors, as unknown, or not at all."""

    ACCEPT = "accept"
    REFINE = "refine"
    REJECT = "reject"
    REVIEW = "review"


class Candidate(msgspec.Struct, frozen=True):
    """A product the gate considered and its cosine distance in [0, 2]."""

    sku: str
    distance: float


class Decision(msgspec.Struct, frozen=True):
    """What the gate made of one embedding.

    sku: the product where verdict is ACCEPT (settled at the centroids) or REFINE (settled by the
        anchors), None where it is REJECT or REVIEW.
    distance: cosine distance in [0, 2] to the nearest candidate; 2.0 for an empty table.
    nearest: candidates, nearest first.
    group: category group that was asked.
    immediate: whether the centroids alone settled it.
    strangeness: what the thresholds were compared with: the distance, told by the yardstick of the
        table, in [0, 2]. How unknown the item looks.
    bundle: digest of the bundle that decided, empty where nobody said.
    """

    verdict: Verdict
    sku: str | None
    distance: float
    nearest: tuple[Candidate, ...]
    group: str
    immediate: bool = True
    strangeness: float = 2.0
    bundle: str = ""


class Gate:
    """The two-threshold decision over one group's table."""

    def __init__(self, table: GroupTable, group: str = "") -> None:
        """Take a table and the name of its category group, which decisions carry."""
        self._table = table
        self._group = group
        self._search = Search(table)
        self._spreads = table.spreads.tolist()

    @property
    def table(self) -> GroupTable:
        """The table decisions are made with."""
        return self._table

    def decide(self, embedding: NDArray[np.float32]) -> Decision:
        """Decide on one crop.

        embedding: (D,) L2-normalised, from the model this table was built with.
        Raises TableError if D differs from the table's or a value is not finite.
        """
        rows, distances = self._search.by_centroid(embedding)
        if not rows:
            return Decision(Verdict.REJECT, None, 2.0, (), self._group)
        limits = self._table.thresholds
        strange = self._strangeness(rows, distances)
        if strange > limits.th:
            return self._decision(Verdict.REJECT, rows, distances, strange, immediate=True)
        if strange < limits.tl and self._search.lead(rows, distances) >= limits.margin:
            return self._decision(Verdict.ACCEPT, rows, distances, strange, immediate=True)
        return self._refine(embedding, rows)

    def decide_many(self, embeddings: NDArray[np.float32]) -> list[Decision]:
        """Decide on each row of (N, D), exactly as `decide` would. Raises TableError."""
        return [self.decide(np.asarray(row)) for row in embeddings]

    def _refine(self, embedding: NDArray[np.float32], rows: list[int]) -> Decision:
        """Compare with the anchors of the nearest products."""
        rows, distances = self._search.by_anchors(embedding, rows)
        limits = self._table.thresholds
        strange = self._strangeness(rows, distances)
        if strange > limits.th:
            verdict = Verdict.REJECT
        elif (
            strange < limits.anchor_accept
            and self._search.lead(rows, distances) >= limits.anchor_margin
        ):
            verdict = Verdict.REFINE
        else:
            verdict = Verdict.REVIEW
        return self._decision(verdict, rows, distances, strange, immediate=False)

    def _strangeness(self, rows: list[int], distances: list[float]) -> float:
        return self._table.yardstick.strangeness(distances, self._spreads[rows[0]])

    def _decision(
        self,
        verdict: Verdict,
        rows: list[int],
        distances: list[float],
        strangeness: float,
        *,
        immediate: bool,
    ) -> Decision:
        skus = self._table.skus
        known = verdict is Verdict.ACCEPT or verdict is Verdict.REFINE
        return Decision(
            verdict=verdict,
            sku=skus[rows[0]] if known else None,
            distance=distances[0],
            nearest=tuple(map(Candidate, [skus[row] for row in rows], distances)),
            group=self._group,
            immediate=immediate,
            strangeness=strangeness,
        )
