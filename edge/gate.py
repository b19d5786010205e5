"""Decide which product a crop shows (contract; the gate's owner completes this file)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    """

    verdict: Verdict
    sku: str | None
    distance: float
    nearest: tuple[Candidate, ...]
    group: str
