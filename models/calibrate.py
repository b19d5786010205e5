"""Find a group's thresholds and yardstick from queries whose answer is known.

Accepting is calibrated for a wanted rate of wrong accepts, judged by an upper confidence bound over
pictures, so that few queries make careful thresholds; with too few, `SAFE` ones are used and it is
said. Which yardstick helps is found with products left out, so that it is not one that suits these
products alone. Called by the build of a bundle and by `shelfgate models calibrate`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from models.bounds import surely_within, upper_bound
from models.readings import Evidence, Stage, evidence, joined, usual
from models.table import SAFE, Thresholds
from models.yardstick import MOST_LEAD, NEUTRAL, Yardstick

__all__ = ["Calibration", "Evidence", "Kind", "Wanted", "calibrate", "evidence", "joined"]

FEWEST = 60
"""Pictures of known products below which nothing is calibrated."""

_GRID = 40
_MARGINS = np.concatenate([[0.0], np.geomspace(0.05, 4.0, 30)])
_CROWDS = (0.0, 0.5, 1.0)
_SPREADS = (0.0, 0.25, 0.5)
_FOLDS = 5
_FIRST_SHARE = 0.8
"""How much of what may go wrong is spent at the centroids."""

_LOOSER = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
_STRICTER = (0.7, 0.5, 0.35, 0.25, 0.15)
"""Shares of what is wanted to try where products left out fare worse than that."""

_WORTH = 0.02
"""So much more coverage it takes to prefer a yardstick to a simpler one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What accepting may cost, as shares.

    wrong: of the accepted known items, how many may be taken for another product.
    unknown: of the unknown items, how many may be accepted.
    missed: of the known items, how many may be rejected at once.
    coverage: before fewer of the known items than this are accepted, `unknown` is let go of step by
        step, since a gate that asks about most items is no use; what it became is said.
    confidence: how sure it must be that `wrong` holds for all kinds together.
    """

    wrong: float = 0.01
    unknown: float = 0.02
    missed: float = 0.01
    coverage: float = 0.65
    confidence: float = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Queries of one kind of goods, of which each must come out well: known and unknown ones."""

    known: Evidence
    unknown: Evidence

    def without(self, products: frozenset[str]) -> Kind:
        """Return the kind without the queries of some products."""
        return Kind(*(part.where(~_of(part, products)) for part in (self.known, self.unknown)))

    def only(self, products: frozenset[str]) -> Kind:
        """Return only the queries of some products."""
        return Kind(*(part.where(_of(part, products)) for part in (self.known, self.unknown)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The thresholds found, and what they do to the queries they were found with.

    immediate, refined: shares of the known queries that are accepted at the centroids, and at the
        anchors. wrong: share of all accepted that are of another product; wrong_at_most: its upper
        bound at the confidence wanted. unknown_accepted: share of the unknown. rejected: share of
        the known that is rejected at once. left_out: wrong and unknown_accepted of products the
        thresholds were not found with, in turns.
    doubt: why `wrong` is not sure to hold, empty where it is.
    fallback: why the thresholds are safe values instead, empty where they are calibrated.
    """

    thresholds: Thresholds
    yardstick: Yardstick = NEUTRAL
    immediate: float = 0.0
    refined: float = 0.0
    wrong: float = 0.0
    wrong_at_most: float = 1.0
    unknown_accepted: float = 0.0
    rejected: float = 0.0
    left_out: tuple[float, float] = (0.0, 0.0)
    unknown_wanted: float = 0.0
    doubt: str = ""
    fallback: str = ""


def calibrate(kinds: Sequence[Kind], wanted: Wanted | None = None) -> Calibration:
    """Find what accepts as many known queries as it can within what is wanted.

    kinds: at least one. Each counts the same, and none may exceed what is wanted.
    """
    wanted = wanted or Wanted()
    known = joined([kind.known for kind in kinds])
    unknown = joined([kind.unknown for kind in kinds])
    pictures = len(np.unique(known.pictures))
    if pictures < FEWEST or len(unknown) < FEWEST:
        return Calibration(
            SAFE,
            fallback=f"{pictures} known and {len(unknown)} unknown queries, {FEWEST} are needed",
        )
    yardstick, strict, left_out, eased = _eased(kinds, wanted)
    doubt = ""
    if left_out[0] == 0.0:
        doubt = (
            f"too few of {pictures} pictures are told apart to be sure of {wanted.wrong:.1%} "
            "wrong; it only holds for the pictures at hand"
        )
        yardstick, strict, left_out, eased = _eased(kinds, replace(wanted, confidence=0.0))
        strict = eased if left_out[0] == 0.0 else strict
    limits = _thresholds([_Told.of(kind, yardstick) for kind in kinds], strict)
    told = _Told.of(Kind(known, unknown), yardstick)
    found = _outcome(told, limits, yardstick, replace(eased, confidence=wanted.confidence))
    return replace(found, left_out=left_out[1:], doubt=doubt)


def _eased(
    kinds: Sequence[Kind], wanted: Wanted
) -> tuple[Yardstick, Wanted, tuple[float, float, float], Wanted]:
    """Return what `_found` returns, and what was wanted when coverage was enough."""
    for unknown_share in (wanted.unknown, *(u for u in _LOOSER if u > wanted.unknown)):
        eased = replace(wanted, unknown=unknown_share)
        found = _found(kinds, eased)
        if found[2][0] >= wanted.coverage:
            break
    return *found, eased


def _found(
    kinds: Sequence[Kind], wanted: Wanted
) -> tuple[Yardstick, Wanted, tuple[float, float, float]]:
    """Return a yardstick, what to ask for, and how products left out fare then.

    What was chosen to look good on some products does worse on others, so more must be asked for.
    """
    yardstick, found = _yardstick(kinds, wanted)
    strict = wanted
    for share in _STRICTER:
        if found[1] > wanted.wrong:
            strict = replace(strict, confidence=1.0 - (1.0 - wanted.confidence) * share)
        elif found[2] > wanted.unknown:
            strict = replace(strict, unknown=wanted.unknown * share)
        else:
            break
        found = _with_products_left_out(kinds, strict, yardstick)
    return yardstick, strict, found


def _yardstick(
    kinds: Sequence[Kind], wanted: Wanted
) -> tuple[Yardstick, tuple[float, float, float]]:
    """Return the yardstick that lets most be accepted of products left out, and how that went."""
    known = joined([kind.known for kind in kinds])
    crowd, spread = usual(known)
    best, found = NEUTRAL, (-1.0, 0.0, 0.0)
    for crowds, spreads in product(_CROWDS, _SPREADS):
        if spreads and not known.first.spread.any():
            continue
        yardstick = Yardstick(crowds, spreads, crowd, spread)
        outcome = _with_products_left_out(kinds, wanted, yardstick)
        if outcome[0] > found[0] + (_WORTH if found[0] >= 0 else 0.0):
            best, found = yardstick, outcome
    return best, found


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What one stage sees, told by a yardstick: all (N,). weight: so that a picture counts once."""

    strange: NDArray[np.float32]
    lead: NDArray[np.float32]
    right: NDArray[np.bool_]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, stage: Stage, pictures: NDArray[np.int64], yardstick: Yardstick) -> _Seen:
        _, which, counts = np.unique(pictures, return_inverse=True, return_counts=True)
        weight = 1.0 / counts[which] if len(pictures) else np.zeros(0)
        return cls(stage.strangeness(yardstick), stage.lead, stage.right, weight)

    def under(self, bar: float, margin: float) -> NDArray[np.bool_]:
        return np.asarray((self.strange < bar) & (self.lead >= margin))

    def grid(self, bars: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight of what is under each of ascending bars and each of `_MARGINS`."""
        place = np.searchsorted(bars, self.strange, side="right")
        above = np.searchsorted(_MARGINS, self.lead, side="right")
        cells = np.zeros((len(bars) + 1, len(_MARGINS) + 1))
        np.add.at(cells, (place, above), weight)
        under = cells.cumsum(axis=0)[:-1]
        return np.asarray(under[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:])


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """A kind's known and unknown queries at both stages, told by a yardstick."""

    known: tuple[_Seen, _Seen]
    unknown: tuple[_Seen, _Seen]

    @classmethod
    def of(cls, kind: Kind, yardstick: Yardstick) -> _Told:
        known, unknown = (
            (
                _Seen.of(part.first, part.pictures, yardstick),
                _Seen.of(part.second, part.pictures, yardstick),
            )
            for part in (kind.known, kind.unknown)
        )
        return cls(known, unknown)

    def accepted(self, limits: Thresholds) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Yield which known, then which unknown queries are accepted at either stage."""
        for first, second in (self.known, self.unknown):
            at_once = first.under(limits.tl, limits.margin)
            later = second.under(limits.anchor_accept, limits.anchor_margin)
            yield at_once, ~at_once & (first.strange <= limits.th) & later

    def counts_of(
        self, so_far: Thresholds, stage: int, bars: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return (bars, margins, 3): known accepted, wrong and unknown, were a stage's these."""
        before = self.counts(so_far)[:3]
        found = []
        for (first, _), seen in zip(
            (self.known, self.unknown), (self.known[stage], self.unknown[stage]), strict=True
        ):
            gone = first.under(so_far.tl, so_far.margin) | (first.strange > so_far.th)
            weight = np.where(gone & (stage > 0), 0.0, seen.weight)
            found.append(seen.grid(bars, weight))
            found.append(seen.grid(bars, weight * ~seen.right))
        return np.stack(found[:3], axis=-1) + before

    def counts(self, limits: Thresholds) -> NDArray[np.float64]:
        """Return counts of pictures.

        Known ones accepted, of those wrong ones, unknown ones accepted, all known, all unknown.
        """
        (at_once, later), (unknown_first, unknown_second) = self.accepted(limits)
        first, second = self.known
        good = (at_once & first.right) | (later & second.right)
        taken = at_once | later
        strangers = unknown_first | unknown_second
        weight, others = first.weight, self.unknown[0].weight
        return np.array(
            [
                weight[taken].sum(),
                weight[taken & ~good].sum(),
                others[strangers].sum(),
                weight.sum(),
                others.sum(),
            ]
        )


def _thresholds(kinds: Sequence[_Told], wanted: Wanted) -> Thresholds:
    """Return the thresholds that accept most; nothing is accepted where nothing is good enough."""
    right = np.concatenate([k.known[0].strange[k.known[0].right] for k in kinds])
    everything = np.concatenate([k.known[0].strange for k in kinds])
    th = float(np.quantile(right if len(right) else everything, 1.0 - wanted.missed))
    spent = replace(
        wanted, wrong=wanted.wrong * _FIRST_SHARE, unknown=wanted.unknown * _FIRST_SHARE
    )
    tl, margin = _best(kinds, Thresholds(0.0, th, MOST_LEAD, 0.0, MOST_LEAD), 0, spent)
    found = Thresholds(tl, max(th, tl), margin, 0.0, MOST_LEAD)
    accept, anchor_margin = _best(kinds, found, 1, wanted)
    return Thresholds(tl, max(th, tl), margin, accept, anchor_margin)


def _best(
    kinds: Sequence[_Told], so_far: Thresholds, stage: int, wanted: Wanted
) -> tuple[float, float]:
    """Return the strangeness and lead that accept most at a stage, within what is wanted.

    so_far: decides what an earlier stage has accepted or rejected.
    """
    strange = np.concatenate([kind.known[stage].strange for kind in kinds])
    bars = np.minimum(np.unique(np.quantile(strange, np.linspace(0.02, 1.0, _GRID))), so_far.th)
    tables = [kind.counts_of(so_far, stage, bars) for kind in kinds]
    sizes = [kind.counts(so_far) for kind in kinds]
    counts = np.stack(
        [
            np.concatenate([table, np.broadcast_to(size[3:], (*table.shape[:2], 2))], axis=-1)
            for table, size in zip(tables, sizes, strict=True)
        ],
        axis=2,
    ).reshape(-1, len(kinds), 5)
    good = ((counts[..., 0] - counts[..., 1]) / np.maximum(counts[..., 3], 1.0)).sum(axis=1)
    good[~_each_bearable(counts, wanted)] = 0.0
    for place in np.argsort(-good, kind="stable").tolist():
        if good[place] <= 0.0:
            break
        taken, wrong = counts[place, :, :2].sum(axis=0)
        if surely_within(_whole(wrong), int(taken), wanted.wrong, wanted.confidence):
            bar, margin = divmod(place, len(_MARGINS))
            return float(bars[bar]), float(_MARGINS[margin])
    return 0.0, MOST_LEAD


def _each_bearable(counts: NDArray[np.float64], wanted: Wanted) -> NDArray[np.bool_]:
    """Return (N,) whether no kind exceeds what is wanted; counts: (N, kinds, 5)."""
    taken, wrong, strangers, _, unknown = np.moveaxis(counts, -1, 0)
    bad = (wrong > wanted.wrong * taken) | (strangers > wanted.unknown * unknown)
    return np.asarray(~bad.any(axis=1))


def _whole(pictures: float) -> int:
    """Return a number of pictures, of which parts count as one."""
    return int(np.ceil(pictures - 1e-9))


def _with_products_left_out(
    kinds: Sequence[Kind], wanted: Wanted, yardstick: Yardstick
) -> tuple[float, float, float]:
    """Return coverage, wrong share and unknown share of products the thresholds did not see."""
    names = sorted({str(name) for kind in kinds for name in kind.known.products})
    total = np.zeros(5)
    for fold in range(_FOLDS):
        out = frozenset(names[fold::_FOLDS])
        found = _thresholds([_Told.of(kind.without(out), yardstick) for kind in kinds], wanted)
        for kind in kinds:
            total += _Told.of(kind.only(out), yardstick).counts(found)
    taken, wrong, strangers, known, unknown = total
    return (
        float((taken - wrong) / max(known, 1)),
        float(wrong / max(taken, 1)),
        float(strangers / max(unknown, 1)),
    )


def _outcome(
    told: _Told,
    limits: Thresholds,
    yardstick: Yardstick,
    wanted: Wanted,
) -> Calibration:
    (at_once, later), _ = told.accepted(limits)
    taken, wrong, strangers, _, unknown = told.counts(limits)
    first = told.known[0]
    return Calibration(
        thresholds=limits,
        yardstick=yardstick,
        immediate=float(at_once.mean()),
        refined=float(later.mean()),
        wrong=float(wrong / max(taken, 1)),
        wrong_at_most=upper_bound(_whole(wrong), int(taken), wanted.confidence),
        unknown_accepted=float(strangers / max(unknown, 1)),
        rejected=float((first.strange > limits.th).mean()),
        unknown_wanted=wanted.unknown,
    )


def _of(part: Evidence, products: frozenset[str]) -> NDArray[np.bool_]:
    return np.isin(part.products, list(products))
