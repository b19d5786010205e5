"""The bundle that ships, on photographs nobody trained with: what a shop would find in an hour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.embed import Embedder, open_embedder
from edge.gate import Gate, Verdict
from models.bundle import DEFAULT_BUNDLE, load_bundle
from models.enrol import enrol
from models.pictures import find_pictures, read_picture
from models.table import GroupTable

ENROLLED, ASKED = 6, 6

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return open_embedder(load_bundle(DEFAULT_BUNDLE).groups[0].model)


@pytest.fixture(scope="module")
def taught(embedder: Embedder, shared_data: Path) -> GroupTable:
    """The table that ships, and the products it has never seen, from a few pictures each."""
    table = load_bundle(DEFAULT_BUNDLE).groups[0].table
    new = find_pictures([shared_data / "grocery" / "novel" / "enrol"])
    for sku, paths in new.items():
        pictures = [read_picture(path) for path in spread(paths, ENROLLED)]
        table = table.with_products({sku: enrol(sku, pictures, embedder, table).looks})
    return table


def spread(paths: list[Path], count: int) -> list[Path]:
    """Some of a product's pictures, from all over: neighbours are often of one minute."""
    places = np.linspace(0, len(paths) - 1, min(count, len(paths)))
    return [paths[int(place)] for place in places]


def decided(
    embedder: Embedder, gate: Gate, folder: Path
) -> Iterator[tuple[str, str | None, str, Verdict]]:
    asked = find_pictures([folder])
    pairs = [(sku, path) for sku, paths in asked.items() for path in spread(paths, ASKED)]
    rows = embedder.embed_many(read_picture(path) for _, path in pairs)
    for (sku, _), row in zip(pairs, rows, strict=True):
        decision = gate.decide(row)
        yield sku, decision.sku, decision.nearest[0].sku, decision.verdict


@pytest.mark.parametrize(
    ("folder", "known", "at_once", "right"),
    [("trained/test", 0.86, 0.25, 0.97), ("novel/query", 0.75, 0.12, 0.88)],
    ids=["trained", "new"],
)
def test_most_products_are_known_and_next_to_none_is_charged_for_another(
    embedder: Embedder,
    taught: GroupTable,
    shared_data: Path,
    folder: str,
    known: float,
    at_once: float,
    right: float,
) -> None:
    found = list(decided(embedder, Gate(taught), shared_data / "grocery" / folder))
    assert len(found) >= 40
    assert np.mean([sku == nearest for sku, _, nearest, _ in found]) >= known
    charged = [(sku, said) for sku, said, _, _ in found if said is not None]
    assert len(charged) >= at_once * len(found)
    assert np.mean([sku == said for sku, said in charged]) >= right


def test_what_is_not_in_the_table_is_seldom_charged(embedder: Embedder, shared_data: Path) -> None:
    table = load_bundle(DEFAULT_BUNDLE).groups[0].table
    folder = shared_data / "grocery" / "novel" / "query"
    verdicts = [verdict for *_, verdict in decided(embedder, Gate(table), folder)]
    accepted = [verdict in (Verdict.ACCEPT, Verdict.REFINE) for verdict in verdicts]
    assert len(accepted) >= 40
    assert np.mean(accepted) <= 0.1
