"""How well the default bundle tells real products apart, and what its gate makes of them.

The grocery photographs: test pictures of the products it was trained on, and of those it never saw,
which are enrolled first; all in one table, single pictures, by the network and the gate that a
device runs. What `shelfgate models evaluate` prints, beside what is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.embed import open_embedder
from edge.gate import Gate
from models.asks import Embeds, MakesGate
from models.bundle import DEFAULT_BUNDLE, load_bundle
from models.catalogue import read_catalogue
from models.evaluate import Task, evaluate_task
from models.pictures import find_pictures
from tests.bench.results import table
from tests.shared import grocery_pictures

Figures = dict[str, Any]

WANTED: tuple[tuple[str, Callable[[Figures], float | None], str, float], ...] = (
    ("right, trained", lambda f: f["accuracy"]["trained"], ">=", 0.91),
    ("right, untrained", lambda f: f["accuracy"]["untrained"], ">=", 0.87),
    ("right of five pictures, trained", lambda f: f["tracks"]["trained"], ">=", 0.97),
    ("right of five pictures, untrained", lambda f: f["tracks"]["untrained"], ">=", 0.94),
    ("decided without review", lambda f: f["selective"]["coverage"], ">=", 0.65),
    ("of those right, trained", lambda f: f["by_training"]["trained"]["accuracy"], ">=", 0.99),
    ("of those right, untrained", lambda f: f["by_training"]["untrained"]["accuracy"], ">=", 0.97),
    ("decided at the centroids", lambda f: f["immediate"], ">=", 0.70),
    ("unknown: rejected or reviewed", lambda f: f["left_out"]["rejected"], ">=", 0.95),
    ("unknown: wrongly accepted", lambda f: f["left_out"]["false_accepts"], "<=", 0.02),
    ("unknown: AUROC", lambda f: f["left_out"]["auroc"], ">=", 0.95),
)
"""What is told, where it stands in the figures, and what is wanted of it. Unknown: each query asked
of the table without its own product."""


FEW = (1, 3, 6, 12)
FEW_HEAD = ("photographs", "right, trained", "untrained", "untrained decided", "of those right")


def run() -> Figures:
    """Measure. Raises BadInput where the photographs are not at hand."""
    grocery = grocery_pictures()
    group = load_bundle(DEFAULT_BUNDLE).groups[0]
    embedder, gate = open_embedder(group.model), partial(Gate, group=group.name)
    task = Task(
        table=group.table,
        catalogue=read_catalogue(grocery / "catalog.csv"),
        enrol=find_pictures([grocery / "novel" / "enrol"]),
        query=find_pictures([grocery / "trained" / "test", grocery / "novel" / "query"]),
        unknown={},
        trained=group.model.trained_skus,
    )
    figures = evaluate_task(task, embedder, gate)
    figures["packshot_only"] = _by_packshots(task, embedder, gate, grocery / "iconic")
    figures["few_photographs"] = [_by_few(task, embedder, gate, count) for count in FEW]
    figures["short_of"] = [
        f"{name}: {told(figures)}, wanted {sign} {wanted}"
        for name, told, sign, wanted in WANTED
        if not _holds(told(figures), sign, wanted)
    ]
    return figures


def markdown(figures: Figures) -> str:
    """Return the section of docs/results.md."""
    rows = [(name, told(figures), f"{sign} {wanted}") for name, told, sign, wanted in WANTED]
    rows.append(("right, enrolled from one packshot", figures["packshot_only"], "half of above"))
    counts = figures["counts"]
    lead = (
        f"{counts['trained']} pictures of {counts['products'] - counts['enrolled']} trained "
        f"products and {counts['untrained']} of {counts['enrolled']} untrained ones, "
        f"{counts['products']} in the table."
    )
    curve = [
        (point["coverage"], point["risk"])
        for point in figures["risk_coverage"]
        if round(100 * point["coverage"]) % 10 == 0
    ]
    return (
        f"{lead}\n\n{table(('share', 'is', 'wanted'), rows)}\n\n"
        "Untrained products that few photographs are known of:\n\n"
        f"{table(FEW_HEAD, figures['few_photographs'])}\n\n"
        "What would be wrong, were so many decided, the clearest first:\n\n"
        f"{table(('decided', 'of those wrong'), curve)}"
    )


def _by_few(task: Task, embedder: Embeds, gate: MakesGate, count: int) -> tuple[Any, ...]:
    """Return what becomes of untrained products that are enrolled from so many photographs.

    Those are from all over: neighbours are often of one minute. Then the shares of all pictures
    that are told, and those of the untrained's that are decided without review, and right of those.
    """
    newcomers = {
        sku: [paths[int(place)] for place in np.linspace(0, len(paths) - 1, count)]
        for sku, paths in task.enrol.items()
    }
    figures = evaluate_task(replace(task, enrol=newcomers), embedder, gate)
    right, decided = figures["accuracy"], figures["by_training"]["untrained"]
    return count, right["trained"], right["untrained"], decided["coverage"], decided["accuracy"]


def _holds(value: float | None, sign: str, wanted: float) -> bool:
    if value is None:
        return False
    return value >= wanted if sign == ">=" else value <= wanted


def _by_packshots(task: Task, embedder: Embeds, gate: MakesGate, iconic: Path) -> float | None:
    """Return how many pictures of untrained products are told, enrolled from one packshot each."""
    newcomers = {sku: [iconic / f"{sku}.jpg"] for sku in task.query if sku not in task.trained}
    asked = {sku: task.query[sku] for sku in newcomers}
    figures = evaluate_task(replace(task, enrol=newcomers, query=asked), embedder, gate)
    found: float | None = figures["accuracy"]["untrained"]
    return found
