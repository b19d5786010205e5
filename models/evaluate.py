"""Measure how well a bundle tells products apart, on pictures whose answer is known.

Called by `shelfgate models evaluate`; the embedder and the gate are handed in, so that what is
measured is what the device does. The result has the shape of the command contract in
docs/architecture.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.asks import Embeds, MakesGate, Ruling
from models.catalogue import Catalogue, CatalogueError
from models.enrol import enrol
from models.pictures import labelled, read_picture
from models.table import GroupTable

Pictures = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is asked.

    table: what the bundle knows. enrol: pictures to enrol what it does not know from; products it
    knows are left as they are. query: pictures to ask with. unknown: pictures of products that are
    in no table. trained: products the model saw in training.
    """

    table: GroupTable
    catalogue: Catalogue
    enrol: Pictures
    query: Pictures
    unknown: Pictures
    trained: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's true product and what the gate made of it."""

    sku: str
    ruling: Ruling

    @property
    def first_right(self) -> bool:
        """Whether the nearest candidate is the product."""
        return bool(self.ruling.nearest) and self.ruling.nearest[0].sku == self.sku


def evaluate_task(task: Task, embedder: Embeds, gate: MakesGate) -> dict[str, Any]:
    """Enrol what is missing, ask everything, and return the figures.

    Shares are None where nothing was asked that they could be of.
    Raises CatalogueError for a sku the catalogue lacks, PictureError for unreadable pictures.
    """
    for sku in [*task.enrol, *task.query]:
        if sku not in task.catalogue:
            raise CatalogueError(f"sku {sku!r} has pictures but is not in the catalogue")
    table = _enrolled(task, embedder)
    judge = gate(table)
    started = time.perf_counter()
    answers = _ask(task.query, embedder, judge.decide)
    seconds = time.perf_counter() - started
    strangers = _ask(task.unknown, embedder, judge.decide)
    overlap = sorted(set(task.unknown) & set(table.skus))
    if overlap:
        raise CatalogueError(f"unknown product {overlap[0]!r} is in the table: it is not unknown")
    trained = [answer for answer in answers if answer.sku in task.trained]
    untrained = [answer for answer in answers if answer.sku not in task.trained]
    decided = [answer for answer in answers if answer.ruling.sku is not None]
    return {
        "accuracy": {
            "trained": _share([answer.first_right for answer in trained]),
            "untrained": _share([answer.first_right for answer in untrained]),
            "all": _share([answer.first_right for answer in answers]),
        },
        "selective": {
            "accuracy": _share([answer.ruling.sku == answer.sku for answer in decided]),
            "coverage": _share([answer.ruling.sku is not None for answer in answers]),
        },
        "unknown": _unknown(answers, strangers),
        "immediate": _share([answer.ruling.immediate for answer in answers]),
        "counts": {
            "products": len(table),
            "enrolled": len(table) - len(task.table),
            "queries": len(answers),
            "trained": len(trained),
            "untrained": len(untrained),
            "decided": len(decided),
            "unknown": len(strangers),
        },
        "per_query_ms": round(1000 * seconds / max(len(answers), 1), 3),
    }


def auroc(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    """Return how often an unknown query lies farther away than a known one, ties counting half.

    known, unknown: (n,) distances, neither empty.
    """
    ordered = np.sort(known)
    below = np.searchsorted(ordered, unknown, side="left")
    upto = np.searchsorted(ordered, unknown, side="right")
    return float((below + upto).mean() / 2 / len(known))


def _enrolled(task: Task, embedder: Embeds) -> GroupTable:
    """Return the table with the products it lacks, each enrolled against the bundle's own."""
    looks = {
        sku: enrol(sku, [read_picture(path) for path in paths], embedder, task.table).looks
        for sku, paths in task.enrol.items()
        if sku not in task.table.skus
    }
    return task.table.with_products(looks)


def _ask(pictures: Pictures, embedder: Embeds, decide: Any) -> list[Answer]:
    asked = list(labelled(pictures))
    rows = embedder.embed_many(read_picture(path) for _, path in asked)
    return [Answer(sku, decide(row)) for (sku, _), row in zip(asked, rows, strict=True)]


def _unknown(answers: Sequence[Answer], strangers: Sequence[Answer]) -> dict[str, float | None]:
    """Return shares of the unknown: `rejected` counts those sent to review too."""
    known_at = np.array([answer.ruling.strangeness for answer in answers])
    unknown_at = np.array([answer.ruling.strangeness for answer in strangers])
    both = len(known_at) and len(unknown_at)
    return {
        "rejected": _share([answer.ruling.sku is None for answer in strangers]),
        "auroc": round(auroc(known_at, unknown_at), 4) if both else None,
        "false_accepts": _share([answer.ruling.sku is not None for answer in strangers]),
    }


def _share(hits: Sequence[bool]) -> float | None:
    return round(float(np.mean(hits)), 4) if hits else None
