"""Judge a group on the frozen test: what it reaches, and whether that is better than before.

Used by `models/refresh.py`; the device's embedder and gate are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.asks import Embeds, MakesGate
from models.bundle import Group
from models.calibrate import Wanted
from models.catalogue import Catalogue
from models.evaluate import Task, evaluate_task

Pictures = Mapping[str, Sequence[Path]]

_NOISE = 0.002
"""Differences of a share smaller than this are none."""

_USEFUL = Wanted().coverage
"""Of what a group rightly decides, no more need be kept: what is above may go for the better."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a group must reach on the frozen test: top-1, and right of what is decided."""

    accuracy: float = 0.91
    selective: float = 0.99


@dataclass(frozen=True, slots=True)
class Frozen:
    """The test that never changes: queries, and pictures of what is not sold."""

    query: Pictures
    unknown: Pictures = field(default_factory=dict)


def figures_of(
    group: Group, catalogue: Catalogue, frozen: Frozen, embedder: Embeds, gate: MakesGate
) -> dict[str, Any]:
    """Return what a group reaches on the frozen test of its own products."""
    known = set(group.table.skus)
    query = {s: p for s, p in frozen.query.items() if s in known and s in catalogue}
    unknown = {s: p for s, p in frozen.unknown.items() if s not in known}
    task = Task(group.table, catalogue, {}, query, unknown, group.model.trained_skus)
    found = evaluate_task(task, embedder, gate)
    return {
        "accuracy": found["accuracy"]["all"],
        "selective": found["selective"]["accuracy"],
        "coverage": found["selective"]["coverage"],
        "unknown_accepted": found["unknown"]["false_accepts"],
        "queries": found["counts"]["queries"],
    }


def is_better(new: Mapping[str, Any], old: Mapping[str, Any], *, strictly: bool) -> bool:
    """Return whether new figures are better, or at least not worse, than old ones.

    Better is a higher top-1 while no more of what is decided is wrong, no more of the unknown is
    accepted, and enough is still decided, and rightly: a gate that asks about everything is never
    wrong.
    """
    if new["accuracy"] is None or old["accuracy"] is None:
        return not strictly
    gain = new["accuracy"] - old["accuracy"]
    safe = all(
        new[name] is None or old[name] is None or sign * (new[name] - old[name]) >= -_NOISE
        for name, sign in (("selective", 1.0), ("unknown_accepted", -1.0))
    )
    useful = _decided_rightly(new) >= min(_decided_rightly(old), _USEFUL) - _NOISE
    return safe and useful and (gain > _NOISE if strictly else gain >= -_NOISE)


def _decided_rightly(figures: Mapping[str, Any]) -> float:
    """Return the share of all queries that are decided, and rightly."""
    return float((figures["coverage"] or 0.0) * (figures["selective"] or 0.0))
