"""Find the thresholds of a category group from queries whose answer is known.

Accepting is calibrated for a wanted rate of wrong accepts, judged by an upper confidence bound, so
that few queries make careful thresholds; with too few, `SAFE` ones are used and it is said.
Called by the build of a bundle and by `shelfgate models calibrate`. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from models.table import MOST_LEAD, SAFE, GroupTable, Thresholds, lead

NEAREST = 5
"""As many products as the gate looks at closely."""

FEWEST = 60
"""Queries of known products below which nothing is calibrated."""

_CONFIDENCE = 0.8
_FIRST_SHARE = 0.7
"""How much of what may go wrong is spent at the centroids."""

_GRID = 40
_MARGINS = np.arange(0.2, 2.0, 0.05)


@dataclass(frozen=True, slots=True)
class Wanted:
    """wrong: greatest share of accepts of known products that may be of another product.

    unknown: greatest share of unknown items that may be accepted.
    missed: share of queries of known products that may be rejected at once.
    """

    wrong: float = 0.02
    unknown: float = 0.025
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


def calibrate(known: Evidence, unknown: Evidence, wanted: Wanted | None = None) -> Calibration:
    """Find thresholds that accept as many known queries as they can within what is wanted."""
    wanted = wanted or Wanted()
    if len(known) < FEWEST or len(unknown) < FEWEST:
        return Calibration(
            SAFE,
            fallback=f"{len(known)} known and {len(unknown)} unknown queries, {FEWEST} are needed",
        )
    right = known.distance[known.right]
    th = float(np.quantile(right if len(right) else known.distance, 1.0 - wanted.missed))
    at_once = Wanted(wanted.wrong * _FIRST_SHARE, wanted.unknown * _FIRST_SHARE)
    tl, margin = _best(_seen(known), _seen(unknown), at_once, _Taken(), (0.0, th))
    taken = (known.distance < tl) & (known.lead >= margin)
    strangers = (unknown.distance < tl) & (unknown.lead >= margin)
    already = _Taken(
        int(taken.sum()), int((taken & ~known.right).sum()), int(strangers.sum()), len(unknown)
    )
    anchor_accept, anchor_margin = _best(
        _looked_at(known.where(~taken & (known.distance <= th))),
        _looked_at(unknown.where(~strangers & (unknown.distance <= th))),
        wanted,
        already,
        (tl, th),
    )
    thresholds = Thresholds(tl, max(th, tl), margin, anchor_accept, anchor_margin)
    return _outcome(thresholds, known, unknown)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was accepted before: known queries, wrong ones among them, unknown ones, of how many."""

    accepted: int = 0
    wrong: int = 0
    strangers: int = 0
    asked: int = 0


_Columns = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def _seen(of: Evidence) -> _Columns:
    return of.distance, of.lead, of.right


def _looked_at(of: Evidence) -> _Columns:
    return of.anchor_distance, of.anchor_lead, of.anchor_right


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


def _best(
    known: _Columns,
    unknown: _Columns,
    wanted: Wanted,
    already: _Taken,
    between: tuple[float, float],
) -> tuple[float, float]:
    """Return the distance and lead that accept most known queries within what is wanted.

    What was accepted already counts too. Accepts nothing where nothing is good enough.
    between: the distance is looked for above the first and up to the second.
    """
    distance, lead, right = known
    best, most = (0.0, MOST_LEAD), 0
    if not len(distance):
        return best
    bearable = wanted.unknown * (already.asked or len(unknown[0])) - already.strangers
    for bar in np.unique(np.quantile(distance, np.linspace(0.02, 1.0, _GRID))):
        if not between[0] < bar <= between[1]:
            continue
        for margin in _MARGINS:
            accepted = (distance < bar) & (lead >= margin)
            good = int((accepted & right).sum())
            if good <= most or ((unknown[0] < bar) & (unknown[1] >= margin)).sum() > bearable:
                continue
            count = int(accepted.sum())
            wrong = count - good + already.wrong
            if _upper(wrong, count + already.accepted) <= wanted.wrong:
                best, most = (float(bar), float(margin)), good
    return best


def _upper(wrong: int, of: int) -> float:
    """Return an upper confidence bound (Clopper and Pearson's) of a rate seen `wrong` times."""
    return float(beta.ppf(_CONFIDENCE, wrong + 1, of - wrong)) if of > wrong else 1.0


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
