"""What would become of queries whose answer is known, were the thresholds these. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.logistic import fit_logistic
from models.readings import Evidence, Stage
from models.table import Thresholds
from models.yardstick import Yardstick

MARGINS = np.concatenate([[0.0], np.geomspace(0.05, 4.0, 30)])
"""Leads to try."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one stage sees, told by a yardstick: all (N,).

    weight: so that a picture counts once. risk: how likely the nearest product is another, fitted
    to all of them; where few are wrong it tells more than counting those.
    """

    strange: NDArray[np.float32]
    lead: NDArray[np.float32]
    right: NDArray[np.bool_]
    weight: NDArray[np.float64]
    risk: NDArray[np.float64]

    @classmethod
    def of(cls, stage: Stage, pictures: NDArray[np.int64], yardstick: Yardstick) -> Seen:
        """Tell a stage's queries by a yardstick; pictures: (N,) which of them are views of one."""
        _, which, counts = np.unique(pictures, return_inverse=True, return_counts=True)
        weight = 1.0 / counts[which] if len(pictures) else np.zeros(0)
        strange = stage.strangeness(yardstick)
        told = np.column_stack([np.log(stage.lead + 0.05), np.log(strange + 0.02)])
        rows = told.astype(np.float64)
        risk = fit_logistic(rows, ~stage.right, weight)(rows) if len(rows) else np.zeros(0)
        return cls(strange, stage.lead, stage.right, weight, risk)

    def under(self, bar: float, margin: float) -> NDArray[np.bool_]:
        """Return (N,) which are nearer than bar and lead by margin at least."""
        return np.asarray((self.strange < bar) & (self.lead >= margin))

    def grid(self, bars: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight of what is under each of ascending bars and each of `MARGINS`."""
        place = np.searchsorted(bars, self.strange, side="right")
        above = np.searchsorted(MARGINS, self.lead, side="right")
        cells = np.zeros((len(bars) + 1, len(MARGINS) + 1))
        np.add.at(cells, (place, above), weight)
        under = cells.cumsum(axis=0)[:-1]
        return np.asarray(under[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:])


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """A kind's known and unknown queries at both stages, told by a yardstick."""

    known: tuple[Seen, Seen]
    unknown: tuple[Seen, Seen]

    @classmethod
    def of(cls, kind: Kind, yardstick: Yardstick) -> Told:
        """Tell a kind by a yardstick."""
        known, unknown = (
            (
                Seen.of(part.first, part.pictures, yardstick),
                Seen.of(part.second, part.pictures, yardstick),
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

    def rejected(self, limits: Thresholds) -> NDArray[np.bool_]:
        """Return which known queries are rejected at either stage."""
        first, second = self.known
        asked = ~first.under(limits.tl, limits.margin)
        return np.asarray(asked & (np.maximum(first.strange, second.strange) > limits.th))

    def counts_of(
        self, so_far: Thresholds, stage: int, bars: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return (bars, margins, 4) of what would be accepted, were a stage's these.

        Known ones, wrong ones of those, unknown ones, and known ones likely to be wrong.
        """
        before = self.counts(so_far)[[0, 1, 2, 5]]
        found = []
        for (first, _), seen in zip(
            (self.known, self.unknown), (self.known[stage], self.unknown[stage]), strict=True
        ):
            gone = first.under(so_far.tl, so_far.margin) | (first.strange > so_far.th)
            weight = np.where(gone & (stage > 0), 0.0, seen.weight)
            found.append(seen.grid(bars, weight))
            found.append(seen.grid(bars, weight * ~seen.right))
            found.append(seen.grid(bars, weight * seen.risk))
        taken, wrong, likely, strangers = found[:4]
        return np.stack([taken, wrong, strangers, likely], axis=-1) + before

    def counts(self, limits: Thresholds) -> NDArray[np.float64]:
        """Return counts of pictures.

        Known ones accepted, of those wrong ones, unknown ones accepted, all known, all unknown, and
        known ones accepted that are likely to be wrong.
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
                (weight * np.where(at_once, first.risk, second.risk))[taken].sum(),
            ]
        )


def _of(part: Evidence, products: frozenset[str]) -> NDArray[np.bool_]:
    return np.isin(part.products, list(products))
