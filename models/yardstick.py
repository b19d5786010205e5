"""Tell how far a distance is, from what is usual where it was measured.

The same distance says little among a crowd of look-alikes and much where nothing else is near; and
a product whose own pictures hardly differ is no longer itself where most others still are. A
yardstick holds how much of either counts in a group; calibration finds it. Used by the gate. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from models.allowance import UNSURE

MOST_LEAD = 40.0
"""Greatest lead there is."""

MOST = 2.0
"""Greatest cosine distance, and the greatest strangeness."""

STRANGER = 0.6
"""Where something else usually is, for a product that is alone in its table."""

_BOUNDS = {"usual_crowd": (1e-6, MOST), "usual_spread": (1e-6, MOST), "spread": (0.0, 2.0)}

_LEAST = 0.05
"""At a distance of almost nothing small differences are noise."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How a distance becomes strangeness, which thresholds are compared with.

    crowd, spread: exponents, in [0, 1] and [0, 2]; 0 lets the crowd around, or the product's own
        spread, count for nothing.
    usual_crowd: cosine distance of a crowd at which it changes nothing, over 0. usual_spread: from
        which on a product's spread changes nothing, over 0: one that varies much is not to be
        accepted from farther, since what looks like it varies as much.
    anchors: in [0, 1], what the nearest anchors count for beside the centroid, once they are asked.
    doubt: in [0, 1], by how much a product that is known by little may lie nearer than it seems, as
        a share of what distances to it count less by already; see `models.allowance`.
    Raises ValueError for other values.
    """

    crowd: float = 0.0
    spread: float = 0.0
    usual_crowd: float = STRANGER
    usual_spread: float = 0.1
    anchors: float = 0.3
    doubt: float = UNSURE

    def __post_init__(self) -> None:
        """Raise ValueError where a value makes no yardstick."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            least, most = _BOUNDS.get(entry.name, (0.0, 1.0))
            if not least <= value <= most:
                raise ValueError(f"yardstick {entry.name} is {value}, not in [{least:g}, {most:g}]")

    def strangeness(self, distances: Sequence[float], spread: float) -> float:
        """Return how strange the first of ascending distances is, in [0, 2].

        distances: to the nearest few products, at least one. spread: of the first product; 0 where
        it is not known. Never less for a greater first distance.
        """
        first = distances[0]
        if self.crowd:
            around = sum(distances[1:]) / (len(distances) - 1) if len(distances) > 1 else STRANGER
            first *= (self.usual_crowd / max(around, _LEAST)) ** self.crowd
        if self.spread and spread > 0:
            tight = min(max(spread, _LEAST / 5), self.usual_spread)
            first *= (self.usual_spread / tight) ** self.spread
        return min(first, MOST)


NEUTRAL = Yardstick()
"""Strangeness is the distance itself."""


def lead(distances: Sequence[float], doubts: Sequence[float] | None = None) -> float:
    """Return how much farther than the first of ascending distances the next is, as a share of it.

    distances: at least one. A product that is alone is compared with where strangers usually are.
    doubts: by how much each may be nearer in truth: next is what is nearest so.
    """
    first = distances[0]
    if len(distances) == 1:
        second = STRANGER
    elif doubts is None:
        second = distances[1]
    else:
        pairs = zip(distances[1:], doubts[1:], strict=True)
        second = min(distance - doubt for distance, doubt in pairs)
    return float(min(max(0.0, (second - first) / max(first, _LEAST)), MOST_LEAD))


def is_finite(distances: Sequence[float]) -> bool:
    """Return whether every distance is a number."""
    return all(map(math.isfinite, distances))
