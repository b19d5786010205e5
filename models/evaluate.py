"""Measure how well a bundle tells products apart, on pictures whose answer is known.

Called by `shelfgate models evaluate`; the embedder and the gate are handed in, so that what is
measured is what the device does. The result has the shape of the command contract in
docs/architecture.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.asks import Decides, DecidesAmong, Embeds, MakesGate, Ruling
from models.catalogue import Catalogue, CatalogueError
from models.enrol import enrol
from models.groups import Groups, MakesPanel
from models.homes import Homes
from models.pictures import labelled, read_picture
from models.router import routed
from models.search_cost import search_cost
from models.table import GroupTable, Looks, normalised
from models.yardstick import lead

Pictures = Mapping[str, Sequence[Path]]
Rows = Mapping[str, NDArray[np.float32]]
"""Of each picture by each model: (N, D), by the model's name."""

TRACK = 5
"""Pictures of one product that are asked as one, as crops of a tracked item are."""

DRAWS = 20
"""How often pictures are put together to such tracks: one draw alone is a point of luck."""


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """What groups are asked.

    enrol: pictures to enrol what they do not know from; products they know are left as they are.
    query: pictures to ask with. unknown: pictures of products that are in no table. trained:
    products the models saw in training.
    """

    catalogue: Catalogue
    enrol: Pictures
    query: Pictures
    unknown: Pictures
    trained: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What a single table is asked: see `Questions`."""

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

    figures: as in the command contract, and more. groups: with what was enrolled for it.
    tracks: several pictures of one product asked as one. left_out: the queries again, each asked
    of the groups without its own product.
    """

    figures: dict[str, Any]
    groups: Groups
    answers: Sequence[Answer]
    strangers: Sequence[Answer]
    tracks: Sequence[Answer]
    left_out: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class _Alone:
    """The gate of a single table, which needs no panel."""

    gate: Decides

    def decide(self, embedding: Callable[[str], NDArray[np.float32]]) -> Ruling:
        return self.gate.decide(embedding(""))


def evaluate_task(task: Task, embedder: Embeds, gate: MakesGate) -> dict[str, Any]:
    """Return the figures of `evaluated` for a single table. Raises what that raises."""
    groups = Groups({"": task.table}, {"": ""}, {"": embedder})
    asked = Questions(task.catalogue, task.enrol, task.query, task.unknown, task.trained)
    return evaluated(groups, asked, lambda found: _Alone(gate(found.tables[""]))).figures


def evaluated(groups: Groups, asked: Questions, panel: MakesPanel) -> Evaluation:
    """Enrol what is missing, ask everything, and say how it went.

    What is missing is enrolled in the group it belongs to (see `models.homes`).
    Shares are None where nothing was asked that they could be of.
    Raises CatalogueError for a sku the catalogue lacks, PictureError for unreadable pictures,
    BundleError for a sku that belongs to no group.
    """
    for sku in [*asked.enrol, *asked.query]:
        if sku not in asked.catalogue:
            raise CatalogueError(f"sku {sku!r} has pictures but is not in the catalogue")
    whole = _enrolled(groups, asked)
    overlap = sorted(set(asked.unknown) & set(whole.home_of))
    if overlap:
        raise CatalogueError(f"unknown product {overlap[0]!r} is in the table: it is not unknown")
    judge = panel(whole)
    started = time.perf_counter()
    answers, rows = _ask(asked.query, whole, judge)
    seconds = time.perf_counter() - started
    strangers, _ = _ask(asked.unknown, whole, judge)
    tracks = _tracks(answers, rows, judge)
    found = Evaluation(
        {}, whole, answers, strangers, tracks, _left_out(answers, rows, whole, panel)
    )
    figures = _figures(found, asked, seconds)
    figures["counts"]["enrolled"] = len(whole) - len(groups)
    figures["router"] = _routing(found, rows)
    cost = search_cost(rows, whole, judge)
    figures["search"] = asdict(cost) if cost is not None else None
    return replace(found, figures=figures)


def _figures(found: Evaluation, asked: Questions, seconds: float) -> dict[str, Any]:
    """Count what came out. seconds: what asking the queries took."""
    answers, strangers, tracks = found.answers, found.strangers, found.tracks
    trained = [answer for answer in answers if answer.sku in asked.trained]
    untrained = [answer for answer in answers if answer.sku not in asked.trained]
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
            "products": len(found.groups),
            "enrolled": 0,
            "queries": len(answers),
            "trained": len(trained),
            "untrained": len(untrained),
            "decided": sum(answer.decided for answer in answers),
            "unknown": len(strangers),
            "in_no_table": len(answers) - sum(map(len, answers_by_group(found).values())),
        },
        "per_query_ms": round(1000 * seconds / max(len(answers), 1), 3),
        "by_training": {"trained": _by_kind(trained), "untrained": _by_kind(untrained)},
        "by_group": {
            name: _of_group(own, len(found.groups.tables[name]))
            for name, own in answers_by_group(found).items()
        },
        "tracks": {
            "trained": _share([t.first_right for t in tracks if t.sku in asked.trained]),
            "untrained": _share([t.first_right for t in tracks if t.sku not in asked.trained]),
            "selective": _selective(tracks),
            "count": len(tracks),
        },
        "left_out": _unknown(answers, found.left_out),
        "risk_coverage": [
            {"coverage": round(coverage, 4), "risk": round(risk, 4)}
            for coverage, risk in thinned(risk_coverage(answers))
        ],
    }


def answers_by_group(found: Evaluation) -> dict[str, list[Answer]]:
    """Return the answers to queries of each group's own products, by group."""
    home_of = found.groups.home_of
    by_group: dict[str, list[Answer]] = {name: [] for name in found.groups.tables}
    for answer in found.answers:
        if answer.sku in home_of:
            by_group[home_of[answer.sku]].append(answer)
    return by_group


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


def _enrolled(groups: Groups, asked: Questions) -> Groups:
    """Return the groups with the products they lack, each enrolled against the bundle's own."""
    homes = Homes(groups, {sku: product.category for sku, product in asked.catalogue.items()})
    known = groups.home_of
    looks: dict[str, dict[str, Looks]] = {}
    middles: dict[str, NDArray[np.float32]] = {}
    for sku, paths in asked.enrol.items():
        if sku in known:
            continue
        pictures = [read_picture(path) for path in paths]
        home = homes.of(sku, pictures).group
        made = enrol(sku, pictures, groups.embedder(home), groups.tables[home])
        looks.setdefault(home, {})[sku] = made.looks
        middles |= groups.middles(sku, made.fitting(pictures))
    changed = {name: groups.tables[name].with_products(found) for name, found in looks.items()}
    return groups.with_tables(changed, middles)


def _ask(pictures: Pictures, groups: Groups, judge: DecidesAmong) -> tuple[list[Answer], Rows]:
    asked = list(labelled(pictures))
    paths = [path for _, path in asked]
    rows = {model: groups.embedded(paths, model) for model in groups.embedders}
    answers = [
        Answer(sku, _decided(judge, rows, number), path) for number, (sku, path) in enumerate(asked)
    ]
    return answers, rows


def _tracks(answers: Sequence[Answer], rows: Rows, judge: DecidesAmong) -> list[Answer]:
    """Ask the mean of TRACK pictures of one product at a time, drawn at random but the same.

    Which pictures come together decides about some tracks: all are drawn together DRAWS times.
    """
    random = np.random.default_rng(0)
    skus = np.array([answer.sku for answer in answers])
    found = []
    for sku in sorted(set(skus.tolist())) * DRAWS:
        order = random.permutation(np.flatnonzero(skus == sku))
        for start in range(0, len(order) - TRACK + 1, TRACK):
            chosen = order[start : start + TRACK]
            means = {
                model: normalised(np.mean(seen[chosen], axis=0)[None])[0]
                for model, seen in rows.items()
            }
            found.append(Answer(sku, judge.decide(means.__getitem__)))
    return found


def _left_out(
    answers: Sequence[Answer], rows: Rows, groups: Groups, panel: MakesPanel
) -> list[Answer]:
    """Ask every query as if its product were not sold: an unknown item of the very kind that is."""
    found = []
    for sku in sorted({answer.sku for answer in answers}):
        judge = panel(groups.without([sku]))
        own = [i for i, answer in enumerate(answers) if answer.sku == sku]
        found += [Answer(sku, _decided(judge, rows, i), answers[i].path) for i in own]
    return found


def _decided(judge: DecidesAmong, rows: Rows, number: int) -> Ruling:
    """Ask with one of the pictures that were embedded."""
    return judge.decide(lambda model: rows[model][number])


def _routing(found: Evaluation, rows: Rows) -> dict[str, float] | None:
    """Return how well the router sends queries to their products' groups; None without one."""
    groups, home_of = found.groups, found.groups.home_of
    asked = [n for n, answer in enumerate(found.answers) if answer.sku in home_of]
    if groups.router is None or not asked:
        return None
    truth = [home_of[found.answers[n].sku] for n in asked]
    told = asdict(routed(groups.router, rows[groups.router_model][asked], truth))
    return {name: round(share, 4) for name, share in told.items()}


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


def _of_group(answers: Sequence[Answer], products: int) -> dict[str, Any]:
    """Return what becomes of one group's own products, asked of all groups."""
    return {
        "accuracy": _share([answer.first_right for answer in answers]),
        "selective": _selective(answers),
        "immediate": _share([answer.ruling.immediate for answer in answers]),
        "products": products,
        "queries": len(answers),
    }


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
