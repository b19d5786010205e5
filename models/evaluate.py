"""Measure how well a bundle tells products apart, on pictures whose answer is known.

Called by `shelfgate models evaluate`; the embedder and the gate are handed in, so that what is
measured is what the device does. The result has the shape of the command contract in
docs/architecture.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.asks import Embeds, MakesGate, Ruling
from models.catalogue import Catalogue, CatalogueError
from models.enrol import enrol
from models.pictures import labelled, read_picture
from models.table import GroupTable, normalised
from models.yardstick import lead

Pictures = Mapping[str, Sequence[Path]]
Decide = Callable[[NDArray[np.float32]], Ruling]

TRACK = 5
"""Pictures of one product that are asked as one, as crops of a tracked item are."""

DRAWS = 20
"""How often pictures are put together to such tracks: one draw alone is a point of luck."""


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
    """A query's true product, its picture, and what the gate made of it.

    path: None where several pictures were asked as one.
    """

    sku: str
    ruling: Ruling
    path: Path | None = None

    @property
    def first_right(self) -> bool:
        """Whether the nearest candidate is the product."""
        return bool(self.ruling.nearest) and self.ruling.nearest[0].sku == self.sku

    @property
    def decided(self) -> bool:
        """Whether a product was named without review."""
        return self.ruling.sku is not None

    @property
    def confidence(self) -> float:
        """How much speaks for the nearest product: its lead over the next, against strangeness."""
        if not self.ruling.nearest:
            return -math.inf
        ahead = lead([candidate.distance for candidate in self.ruling.nearest])
        return math.log(ahead + 0.05) - math.log(self.ruling.strangeness + 0.05)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was asked, and what came of it.

    figures: as in the command contract, and more. table: with what was enrolled for it.
    tracks: several pictures of one product asked as one. left_out: the queries again, each asked
    of the table without its own product.
    """

    figures: dict[str, Any]
    table: GroupTable
    answers: Sequence[Answer]
    strangers: Sequence[Answer]
    tracks: Sequence[Answer]
    left_out: Sequence[Answer]


def evaluate_task(task: Task, embedder: Embeds, gate: MakesGate) -> dict[str, Any]:
    """Return the figures of `evaluated`. Raises what that raises."""
    return evaluated(task, embedder, gate).figures


def evaluated(task: Task, embedder: Embeds, gate: MakesGate) -> Evaluation:
    """Enrol what is missing, ask everything, and say how it went.

    Shares are None where nothing was asked that they could be of.
    Raises CatalogueError for a sku the catalogue lacks, PictureError for unreadable pictures.
    """
    for sku in [*task.enrol, *task.query]:
        if sku not in task.catalogue:
            raise CatalogueError(f"sku {sku!r} has pictures but is not in the catalogue")
    table = _enrolled(task, embedder)
    overlap = sorted(set(task.unknown) & set(table.skus))
    if overlap:
        raise CatalogueError(f"unknown product {overlap[0]!r} is in the table: it is not unknown")
    judge = gate(table)
    started = time.perf_counter()
    answers, rows = _ask(task.query, embedder, judge.decide)
    seconds = time.perf_counter() - started
    strangers, _ = _ask(task.unknown, embedder, judge.decide)
    tracks = _tracks(answers, rows, judge.decide)
    found = Evaluation({}, table, answers, strangers, tracks, _left_out(answers, rows, table, gate))
    return replace(found, figures=_figures(found, task, seconds))


def _figures(found: Evaluation, task: Task, seconds: float) -> dict[str, Any]:
    """Count what came out. seconds: what asking the queries took."""
    answers, strangers, tracks, table = found.answers, found.strangers, found.tracks, found.table
    trained = [answer for answer in answers if answer.sku in task.trained]
    untrained = [answer for answer in answers if answer.sku not in task.trained]
    return {
        "accuracy": {
            "trained": _share([answer.first_right for answer in trained]),
            "untrained": _share([answer.first_right for answer in untrained]),
            "all": _share([answer.first_right for answer in answers]),
        },
        "selective": _selective(answers),
        "unknown": _unknown(answers, strangers),
        "immediate": _share([answer.ruling.immediate for answer in answers]),
        "counts": {
            "products": len(table),
            "enrolled": len(table) - len(task.table),
            "queries": len(answers),
            "trained": len(trained),
            "untrained": len(untrained),
            "decided": sum(answer.decided for answer in answers),
            "unknown": len(strangers),
        },
        "per_query_ms": round(1000 * seconds / max(len(answers), 1), 3),
        "by_training": {"trained": _by_kind(trained), "untrained": _by_kind(untrained)},
        "tracks": {
            "trained": _share([t.first_right for t in tracks if t.sku in task.trained]),
            "untrained": _share([t.first_right for t in tracks if t.sku not in task.trained]),
            "selective": _selective(tracks),
            "count": len(tracks),
        },
        "left_out": _unknown(answers, found.left_out),
        "risk_coverage": [
            {"coverage": round(coverage, 4), "risk": round(risk, 4)}
            for coverage, risk in thinned(risk_coverage(answers))
        ],
    }


def risk_coverage(answers: Sequence[Answer]) -> list[tuple[float, float]]:
    """Return the share of the most confident answers and of wrong ones in it, for each number."""
    if not answers:
        return []
    ordered = sorted(answers, key=lambda answer: -answer.confidence)
    wrong = np.cumsum([not answer.first_right for answer in ordered])
    count = np.arange(1, len(ordered) + 1)
    return list(zip((count / len(ordered)).tolist(), (wrong / count).tolist(), strict=True))


def thinned(curve: Sequence[tuple[float, float]], most: int = 100) -> list[tuple[float, float]]:
    """Return a curve with at most so many of its points, the last one among them."""
    step = max(1, -(-len(curve) // most))
    return list(curve[::-1][::step][::-1])


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


def _ask(
    pictures: Pictures, embedder: Embeds, decide: Decide
) -> tuple[list[Answer], list[NDArray[np.float32]]]:
    asked = list(labelled(pictures))
    rows = list(embedder.embed_many(read_picture(path) for _, path in asked))
    answers = [Answer(sku, decide(r), path) for (sku, path), r in zip(asked, rows, strict=True)]
    return answers, rows


def _tracks(
    answers: Sequence[Answer], rows: Sequence[NDArray[np.float32]], decide: Decide
) -> list[Answer]:
    """Ask the mean of TRACK pictures of one product at a time, drawn at random but the same.

    Which pictures come together decides about some tracks: all are drawn together DRAWS times.
    """
    random = np.random.default_rng(0)
    skus = np.array([answer.sku for answer in answers])
    found = []
    for sku in sorted(set(skus.tolist())) * DRAWS:
        order = random.permutation(np.flatnonzero(skus == sku))
        for start in range(0, len(order) - TRACK + 1, TRACK):
            mean = np.mean([rows[i] for i in order[start : start + TRACK]], axis=0)
            found.append(Answer(sku, decide(normalised(mean[None])[0])))
    return found


def _left_out(
    answers: Sequence[Answer],
    rows: Sequence[NDArray[np.float32]],
    table: GroupTable,
    gate: MakesGate,
) -> list[Answer]:
    """Ask every query as if its product were not sold: an unknown item of the very kind that is."""
    found = []
    for sku in sorted({answer.sku for answer in answers}):
        decide = gate(table.without([sku])).decide
        own = [i for i, answer in enumerate(answers) if answer.sku == sku]
        found += [Answer(sku, decide(rows[i]), answers[i].path) for i in own]
    return found


def _selective(answers: Sequence[Answer]) -> dict[str, float | None]:
    decided = [answer for answer in answers if answer.decided]
    return {
        "accuracy": _share([answer.ruling.sku == answer.sku for answer in decided]),
        "coverage": _share([answer.decided for answer in answers]),
    }


def _by_kind(answers: Sequence[Answer]) -> dict[str, float | None]:
    """Return what is decided of one kind of goods, and how much is wrongly called unknown."""
    rejected = _share([answer.ruling.verdict == "reject" for answer in answers])
    immediate = _share([answer.ruling.immediate for answer in answers])
    return {**_selective(answers), "rejected": rejected, "immediate": immediate}


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
