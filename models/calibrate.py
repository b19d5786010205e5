"""Find a group's thresholds and yardstick from queries whose answer is known.

Accepting is calibrated for a wanted rate of wrong accepts, and rejecting for one of wrong rejects,
judged by an upper confidence bound over pictures, so that few queries make careful thresholds; with
too few, `SAFE` ones are used and it is said. Which yardstick helps is found with products left out,
so that it is not one that suits these products alone. Called by the build of a bundle and by
`shelfgate models calibrate`. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from models.bounds import most_within, surely_within, upper_bound
from models.readings import Evidence, evidence, joined, usual
from models.table import SAFE, Thresholds
from models.tally import MARGINS, Kind, Told
from models.yardstick import MOST, MOST_LEAD, NEUTRAL, Yardstick

__all__ = ["Calibration", "Evidence", "Kind", "Wanted", "calibrate", "evidence", "joined"]

FEWEST = 60
"""Pictures of known products below which nothing is calibrated."""

_GRID = 40
_CROWDS = (0.0, 0.5, 1.0)
_SPREADS = (0.0, 0.75, 1.5)
_FOLDS = 5
_FIRST_SHARE = 0.8
"""How much of what may go wrong is spent at the centroids."""

_HARDER = 0.75
"""Share of the wrong accepts that may be expected here: what comes later is harder, since shops get
look-alikes that were not there to calibrate with."""

_LOOSER = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
_STRICTER = (0.7, 0.5, 0.35, 0.25, 0.15)
"""Shares of what is wanted to try where products left out fare worse than that."""

_ROUNDING = 1e-9
"""Of sums of parts of pictures."""

_WORTH = 0.02
"""So much more coverage it takes to prefer a yardstick to a simpler one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What deciding may cost, as shares.

    wrong: of the accepted known items, how many may be taken for another product.
    unknown: of the unknown items, how many may be accepted.
    missed: of the known items, how many may be rejected.
    coverage: before fewer of the known items than this are accepted, `unknown` is let go of step by
        step, since a gate that asks about most items is no use; what it became is said.
    confidence: how sure it must be that `wrong`, and `missed`, hold for all kinds together.
    """

    wrong: float = 0.01
    unknown: float = 0.02
    missed: float = 0.01
    coverage: float = 0.65
    confidence: float = 0.6


@dataclass(frozen=True, slots=True)
class Calibration:
    """The thresholds found, and what they do to the queries they were found with.

    immediate, refined: shares of the known queries that are accepted at the centroids, and at the
        anchors. wrong: share of all accepted that are of another product. unknown_accepted: share
        of the unknown. rejected: share of the known that is rejected, at the centroids or at the
        anchors. Those with `at_most`: their upper bounds at the confidence wanted. left_out: wrong
        and unknown_accepted of products the thresholds were not found with, in turns.
    doubt: what of that which is wanted is not sure to hold, and why; empty where all is.
    fallback: why the thresholds are safe values instead, empty where they are calibrated.
    """

    thresholds: Thresholds
    yardstick: Yardstick = NEUTRAL
    immediate: float = 0.0
    refined: float = 0.0
    wrong: float = 0.0
    wrong_at_most: float = 1.0
    unknown_accepted: float = 0.0
    unknown_at_most: float = 1.0
    rejected: float = 0.0
    rejected_at_most: float = 1.0
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
    if len(np.unique(known.products)) < 2:
        return Calibration(SAFE, fallback="queries of a single product, 2 products are needed")
    yardstick, strict, left_out, eased = _eased(kinds, wanted)
    doubts = []
    if left_out[0] == 0.0:
        doubts.append(
            f"too few of {pictures} pictures are told apart to be sure of {wanted.wrong:.1%} "
            "wrong; it only holds for the pictures at hand"
        )
        yardstick, strict, left_out, eased = _eased(kinds, replace(wanted, confidence=0.0))
        strict = eased if left_out[0] == 0.0 else strict
    each = [Told.of(kind, yardstick) for kind in kinds]
    limits = _thresholds(each, strict, _farthest(each, wanted))
    told = Told.of(Kind(known, unknown), yardstick)
    found = _outcome(told, limits, yardstick, replace(eased, confidence=wanted.confidence))
    doubts += _not_sure(found, wanted, pictures, len(np.unique(unknown.pictures)))
    return replace(found, left_out=left_out[1:], doubt=". ".join(doubts))


def _not_sure(found: Calibration, wanted: Wanted, known: int, unknown: int) -> list[str]:
    """Return in words which bounds lie beyond what is wanted; of so many pictures."""
    doubts = []
    if found.rejected_at_most > wanted.missed:
        doubts.append(
            f"{known} pictures of known products are too few to be sure of {wanted.missed:.1%} "
            f"wrong rejects; it may be {found.rejected_at_most:.1%}"
        )
    if found.unknown_at_most > found.unknown_wanted:
        doubts.append(
            f"{unknown} pictures of unknown items are too few to be sure that no more than "
            f"{found.unknown_wanted:.1%} of such are accepted; it may be "
            f"{found.unknown_at_most:.1%}"
        )
    return doubts


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
    known = [kind.known for kind in kinds]
    crowd, spread = usual(known)
    best, found = NEUTRAL, (-1.0, 0.0, 0.0)
    for crowds, spreads in product(_CROWDS, _SPREADS):
        if spreads and not any(one.first.spread.any() for one in known):
            continue
        yardstick = Yardstick(crowds, spreads, crowd, spread)
        outcome = _with_products_left_out(kinds, wanted, yardstick)
        if outcome[0] > found[0] + (_WORTH if found[0] >= 0 else 0.0):
            best, found = yardstick, outcome
    return best, found


def _farthest(kinds: Sequence[Told], wanted: Wanted) -> float:
    """Return TH: the nearest that surely no more than `missed` of the known lie beyond.

    Those count whose nearest product is another, too: an item that is sold was not to be rejected.
    Where there are too few to be sure, none of them lies beyond.
    """
    far = [np.maximum(*(seen.strange for seen in kind.known)) for kind in kinds]
    bars = np.unique(np.concatenate(far))
    sizes = np.array([[kind.known[0].weight.sum()] for kind in kinds])
    beyond = sizes - np.stack(
        [
            np.bincount(np.searchsorted(bars, one), kind.known[0].weight, len(bars)).cumsum()
            for one, kind in zip(far, kinds, strict=True)
        ]
    )
    most = most_within(round(sizes.sum()), wanted.missed, wanted.confidence)
    good = (beyond <= wanted.missed * sizes + _ROUNDING).all(axis=0)
    good &= np.ceil(beyond.sum(axis=0) - _ROUNDING) <= most
    bar = bars[np.argmax(good)] if good.any() else bars[-1]
    # The gate tells strangeness in double precision, which may lie a little above.
    return min(float(np.nextafter(bar, np.float32(np.inf))), MOST)


def _thresholds(kinds: Sequence[Told], wanted: Wanted, th: float) -> Thresholds:
    """Return the thresholds that accept most; nothing is accepted where nothing is good enough.

    th: what is farther is rejected. Nothing is accepted beyond nearly all that is right either.
    """
    right = np.concatenate([k.known[0].strange[k.known[0].right] for k in kinds])
    everything = np.concatenate([k.known[0].strange for k in kinds])
    reach = float(np.quantile(right if len(right) else everything, 1.0 - wanted.missed))
    th = max(th, reach)
    spent = replace(
        wanted, wrong=wanted.wrong * _FIRST_SHARE, unknown=wanted.unknown * _FIRST_SHARE
    )
    tl, margin = _best(kinds, Thresholds(0.0, th, MOST_LEAD, 0.0, MOST_LEAD), 0, spent, reach)
    found = Thresholds(tl, th, margin, 0.0, MOST_LEAD)
    accept, anchor_margin = _best(kinds, found, 1, wanted, reach)
    return Thresholds(tl, th, margin, accept, anchor_margin)


def _best(
    kinds: Sequence[Told], so_far: Thresholds, stage: int, wanted: Wanted, reach: float
) -> tuple[float, float]:
    """Return the strangeness and lead that accept most at a stage, within what is wanted.

    so_far: decides what an earlier stage has accepted or rejected. reach: most strangeness to try.
    """
    strange = np.concatenate([kind.known[stage].strange for kind in kinds])
    bars = np.minimum(np.unique(np.quantile(strange, np.linspace(0.02, 1.0, _GRID))), reach)
    tables = [kind.counts_of(so_far, stage, bars) for kind in kinds]
    sizes = [kind.counts(so_far) for kind in kinds]
    counts = np.stack(
        [
            np.concatenate(
                [table[..., :3], np.broadcast_to(size[3:5], (*table.shape[:2], 2)), table[..., 3:]],
                axis=-1,
            )
            for table, size in zip(tables, sizes, strict=True)
        ],
        axis=2,
    ).reshape(-1, len(kinds), 6)
    good = ((counts[..., 0] - counts[..., 1]) / np.maximum(counts[..., 3], 1.0)).sum(axis=1)
    good[~_each_bearable(counts, wanted)] = 0.0
    for place in np.argsort(-good, kind="stable").tolist():
        if good[place] <= 0.0:
            break
        taken, wrong = counts[place, :, :2].sum(axis=0)
        if surely_within(_whole(wrong), int(taken), wanted.wrong, wanted.confidence):
            bar, margin = divmod(place, len(MARGINS))
            return float(bars[bar]), float(MARGINS[margin])
    return 0.0, MOST_LEAD


def _each_bearable(counts: NDArray[np.float64], wanted: Wanted) -> NDArray[np.bool_]:
    """Return (N,) whether no kind exceeds what is wanted; counts: (N, kinds, 6)."""
    taken, wrong, strangers, _, unknown, likely = np.moveaxis(counts, -1, 0)
    bad = (wrong > wanted.wrong * taken) | (strangers > wanted.unknown * unknown)
    bad |= likely > _HARDER * wanted.wrong * taken
    return np.asarray(~bad.any(axis=1))


def _whole(pictures: float) -> int:
    """Return a number of pictures, of which parts count as one."""
    return int(np.ceil(pictures - _ROUNDING))


def _with_products_left_out(
    kinds: Sequence[Kind], wanted: Wanted, yardstick: Yardstick
) -> tuple[float, float, float]:
    """Return coverage, wrong share and unknown share of products the thresholds did not see."""
    names = sorted({str(name) for kind in kinds for name in kind.known.products})
    total = np.zeros(6)
    for fold in range(_FOLDS):
        out = frozenset(names[fold::_FOLDS])
        others = [Told.of(kind.without(out), yardstick) for kind in kinds]
        found = _thresholds(others, wanted, _farthest(others, wanted))
        for kind in kinds:
            total += Told.of(kind.only(out), yardstick).counts(found)
    taken, wrong, strangers, known, unknown, _ = total
    return (
        float((taken - wrong) / max(known, 1)),
        float(wrong / max(taken, 1)),
        float(strangers / max(unknown, 1)),
    )


def _outcome(
    told: Told,
    limits: Thresholds,
    yardstick: Yardstick,
    wanted: Wanted,
) -> Calibration:
    (at_once, later), _ = told.accepted(limits)
    taken, wrong, strangers, known, unknown, _ = told.counts(limits)
    rejected = told.known[0].weight[told.rejected(limits)].sum()

    def at_most(seen: float, of: float) -> float:
        return upper_bound(_whole(seen), int(of), wanted.confidence)

    return Calibration(
        thresholds=limits,
        yardstick=yardstick,
        immediate=float(at_once.mean()),
        refined=float(later.mean()),
        wrong=float(wrong / max(taken, 1)),
        wrong_at_most=at_most(wrong, taken),
        unknown_accepted=float(strangers / max(unknown, 1)),
        unknown_at_most=at_most(strangers, round(unknown)),
        rejected=float(rejected / max(known, 1)),
        rejected_at_most=at_most(rejected, round(known)),
        unknown_wanted=wanted.unknown,
    )
