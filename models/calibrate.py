"""Find the thresholds of a category group from queries whose answer is known.

Accepting is calibrated for a wanted rate of wrong accepts, judged by an upper confidence bound, so
that few queries make careful thresholds; with too few, `SAFE` ones are used and it is said.
Called by the build of a bundle and by `shelfgate models calibrate`. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.table import MOST_LEAD, SAFE, GroupTable, Thresholds, lead

NEAREST = 5
"""As many products as the gate looks at closely."""

FEWEST = 60
"""Queries of known products below which nothing is calibrated."""

_CONFIDENCE = 0.8
_FIRST_SHARE = 0.8
"""How much of what may go wrong is spent at the centroids."""

_GRID = 40
_HALVINGS = 30
_MARGINS = np.arange(0.2, 3.0, 0.05)
_FAR = 2.0
"""How many times the lead that it takes at the centroids what is farther away must have."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """wrong: greatest share of accepts of known products that may be of another product.

    unknown: greatest share of unknown items that may be accepted.
    missed: share of queries of known products that may be rejected at once.
    """

    wrong: float = 0.02
    unknown: float = 0.04
    missed: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the gate would see of N queries, all (N,).

    distance, lead, right: of the nearest centroid, its lead, and whether it
        is the product asked for (never, where the item is unknown).
    anchor_distance, anchor_lead, anchor_right: the same by the nearest anchors of a few products.
    """

    distance: NDArray[np.float32]
    lead: NDArray[np.float32]
    right: NDArray[np.bool_]
    anchor_distance: NDArray[np.float32]
    anchor_lead: NDArray[np.float32]
    anchor_right: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.distance)

    def where(self, mask: NDArray[np.bool_]) -> Evidence:
        """Return the queries where mask, (N,), is true."""
        return Evidence(*(getattr(self, name)[mask] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The thresholds found, and what they do to the queries they were found with.

    immediate, refined: shares of the known queries that are accepted at the centroids, and at the
        anchors. wrong: share of all accepted that are of another product. unknown_accepted: share
        of the unknown. rejected: share of the known that is rejected at once.
    fallback: why the thresholds are safe values instead, empty where they are calibrated.
    """

    thresholds: Thresholds
    immediate: float = 0.0
    refined: float = 0.0
    wrong: float = 0.0
    unknown_accepted: float = 0.0
    rejected: float = 0.0
    fallback: str = ""


def evidence(
    table: GroupTable,
    embeddings: NDArray[np.float32],
    skus: Sequence[str],
    *,
    without_own: bool = False,
) -> Evidence:
    """Compare (N, D) queries of these products with a table.

    without_own: leave each query's own product out, as if it were unknown.
    """
    rows = [_one(table, row, sku, without_own) for row, sku in zip(embeddings, skus, strict=True)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    kinds = (np.float32, np.float32, np.bool_) * 2
    return Evidence(*(np.array(c, kind) for c, kind in zip(columns, kinds, strict=True)))


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Put the queries of several tables together."""
    return Evidence(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in Evidence.__slots__)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Queries of one kind of goods, of which each must come out well: known and unknown ones."""

    known: Evidence
    unknown: Evidence


def calibrate(kinds: Sequence[Kind], wanted: Wanted | None = None) -> Calibration:
    """Find thresholds that accept as many known queries as they can within what is wanted.

    kinds: at least one. Each counts the same, and none may exceed what is wanted.
    """
    wanted = wanted or Wanted()
    known = joined([kind.known for kind in kinds])
    unknown = joined([kind.unknown for kind in kinds])
    if len(known) < FEWEST or len(unknown) < FEWEST:
        return Calibration(
            SAFE,
            fallback=f"{len(known)} known and {len(unknown)} unknown queries, {FEWEST} are needed",
        )
    right = known.distance[known.right]
    th = float(np.quantile(right if len(right) else known.distance, 1.0 - wanted.missed))
    at_once = Wanted(wanted.wrong * _FIRST_SHARE, wanted.unknown * _FIRST_SHARE)
    tl, margin = _best([_Asked.at_centroids(kind) for kind in kinds], at_once, (0.0, 0.0), th)
    # What is farther away has to lead all the more.
    later = [_Asked.at_anchors(kind, tl, margin, th) for kind in kinds]
    anchor_accept, anchor_margin = _best(later, wanted, (tl, _FAR * margin), th)
    thresholds = Thresholds(tl, max(th, tl), margin, anchor_accept, anchor_margin)
    return _outcome(thresholds, known, unknown)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One kind's queries at one stage of the gate, and what an earlier stage accepted of them.

    known: distance, lead and whether right of those that are still open; unknown: distance and
        lead. of_known, of_unknown: how many there were to begin with.
    """

    known: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
    unknown: tuple[NDArray[np.float32], NDArray[np.float32]]
    of_known: int
    of_unknown: int
    accepted: int = 0
    wrong: int = 0
    strangers: int = 0

    @classmethod
    def at_centroids(cls, kind: Kind) -> _Asked:
        known, unknown = kind.known, kind.unknown
        return cls(
            (known.distance, known.lead, known.right),
            (unknown.distance, unknown.lead),
            len(known),
            len(unknown),
        )

    @classmethod
    def at_anchors(cls, kind: Kind, tl: float, margin: float, th: float) -> _Asked:
        taken = (kind.known.distance < tl) & (kind.known.lead >= margin)
        strangers = (kind.unknown.distance < tl) & (kind.unknown.lead >= margin)
        known = kind.known.where(~taken & (kind.known.distance <= th))
        unknown = kind.unknown.where(~strangers & (kind.unknown.distance <= th))
        return cls(
            (known.anchor_distance, known.anchor_lead, known.anchor_right),
            (unknown.anchor_distance, unknown.anchor_lead),
            len(kind.known),
            len(kind.unknown),
            accepted=int(taken.sum()),
            wrong=int((taken & ~kind.known.right).sum()),
            strangers=int(strangers.sum()),
        )

    def under(self, bar: float, margin: float) -> tuple[int, int, int]:
        """Return how many known, wrong and unknown ones are accepted in all."""
        distance, lead_, right = self.known
        accepted = (distance < bar) & (lead_ >= margin)
        strangers = (self.unknown[0] < bar) & (self.unknown[1] >= margin)
        return (
            int(accepted.sum()) + self.accepted,
            int((accepted & ~right).sum()) + self.wrong,
            int(strangers.sum()) + self.strangers,
        )


def _best(
    asked: Sequence[_Asked], wanted: Wanted, above: tuple[float, float], th: float
) -> tuple[float, float]:
    """Return the distance and lead that accept most known queries within what is wanted.

    Accepts nothing where nothing is good enough. above: least distance and lead to try.
    """
    best, most = (0.0, MOST_LEAD), sum((a.accepted - a.wrong) / max(a.of_known, 1) for a in asked)
    distances = np.concatenate([a.known[0] for a in asked])
    if not len(distances):
        return best
    for bar in np.unique(np.quantile(distances, np.linspace(0.02, 1.0, _GRID))):
        if not above[0] < bar <= th:
            continue
        for margin in _MARGINS[above[1] <= _MARGINS]:
            counts = [a.under(float(bar), float(margin)) for a in asked]
            good = sum(
                (n - wrong) / max(a.of_known, 1)
                for a, (n, wrong, _) in zip(asked, counts, strict=True)
            )
            if good > most and _bearable(asked, counts, wanted):
                best, most = (float(bar), float(margin)), good
    return best


def _bearable(
    asked: Sequence[_Asked], counts: Sequence[tuple[int, int, int]], wanted: Wanted
) -> bool:
    """Return whether no kind exceeds what is wanted, and all together not even at the bound."""
    for a, (accepted, wrong, strangers) in zip(asked, counts, strict=True):
        if wrong > wanted.wrong * accepted or strangers > wanted.unknown * a.of_unknown:
            return False
    accepted, wrong = (sum(count[i] for count in counts) for i in (0, 1))
    return _upper(wrong, accepted) <= wanted.wrong


def _outcome(limits: Thresholds, known: Evidence, unknown: Evidence) -> Calibration:
    def parts(of: Evidence) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        first = (of.distance < limits.tl) & (of.lead >= limits.margin)
        second = (of.anchor_distance < limits.anchor_accept) & (
            of.anchor_lead >= limits.anchor_margin
        )
        return first, ~first & (of.distance <= limits.th) & second

    first, second = parts(known)
    accepted = int(first.sum() + second.sum())
    good = int((first & known.right).sum() + (second & known.anchor_right).sum())
    unknown_first, unknown_second = parts(unknown)
    return Calibration(
        thresholds=limits,
        immediate=float(first.mean()),
        refined=float(second.mean()),
        wrong=(accepted - good) / max(accepted, 1),
        unknown_accepted=float((unknown_first | unknown_second).mean()),
        rejected=float((known.distance > limits.th).mean()),
    )


def _upper(wrong: int, of: int) -> float:
    """Return an upper confidence bound (Clopper and Pearson's) of a rate seen `wrong` times.

    It is the rate at which so few would be seen in 1 - _CONFIDENCE of the cases.
    """
    if wrong >= of:
        return 1.0
    low, high = wrong / of, 1.0
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        seen_so_few = sum(
            math.exp(
                math.lgamma(of + 1)
                - math.lgamma(k + 1)
                - math.lgamma(of - k + 1)
                + k * math.log(rate)
                + (of - k) * math.log1p(-rate)
            )
            for k in range(wrong + 1)
        )
        low, high = (rate, high) if seen_so_few > 1.0 - _CONFIDENCE else (low, rate)
    return high


def _one(
    table: GroupTable, row: NDArray[np.float32], sku: str, without_own: bool
) -> tuple[float, float, bool, float, float, bool]:
    distances = 1.0 - table.centroids @ row
    own = table.skus.index(sku) if sku in table.skus else -1
    if without_own and own >= 0:
        distances[own] = 4.0
    near = np.argsort(distances, kind="stable")[:NEAREST]
    near = near[distances[near] < 4.0]
    if not len(near):
        return 2.0, 0.0, False, 2.0, 0.0, False
    by_anchor = table.refined(row, near)
    order = np.argsort(by_anchor, kind="stable")
    return (
        float(distances[near[0]]),
        lead(distances[near]),
        bool(near[0] == own),
        float(by_anchor[order[0]]),
        lead(by_anchor[order]),
        bool(near[order[0]] == own),
    )
