"""What the centroids save is measured on the queries themselves, and both ways find the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.panel import panel_of
from models.groups import Groups
from models.search_cost import FullSearch, search_cost
from models.table import GroupTable, build_table, normalised
from tests.models.a_table import LIMITS, directions, looks
from tests.models.test_enrol import ByColour

ROWS = directions(40, 64, seed=3)
HALVES = {"warm": range(20), "cold": range(20, 40)}


def of(products: range) -> GroupTable:
    return build_table({f"p{i}": looks(ROWS[i], seed=i) for i in products}, 64, LIMITS)


def groups() -> Groups:
    tables = {name: of(products) for name, products in HALVES.items()}
    return Groups(tables, dict.fromkeys(tables, "eye"), {"eye": ByColour()})


@pytest.mark.parametrize("products", [1, 5, 300])
def test_the_full_search_tells_products_as_the_gate_does_at_the_anchors(products: int) -> None:
    random = np.random.default_rng(products)
    rows = directions(products, 64, seed=products)
    some = {
        f"p{i}": replace(looks(rows[i], 7, seed=i), handicap=float(random.uniform(-0.2, 0.2)))
        for i in range(products)
    }
    few = {
        sku: replace(look, anchors=look.anchors[: 1 + i % 7])
        for i, (sku, look) in enumerate(some.items())
    }
    table = build_table(few, 64, LIMITS)
    search = FullSearch(table)
    for row in normalised(random.normal(size=(30, 64)).astype(np.float32)):
        distances = table.refined(row, range(len(table)))
        distance, sku = search.nearest(row)
        assert sku == table.skus[int(np.argmin(distances))]
        assert distance == pytest.approx(min(distances), abs=1e-5)


def test_the_full_search_finds_the_product_in_whatever_group_it_is() -> None:
    searches = [FullSearch(table) for table in groups().tables.values()]
    for number, row in enumerate(ROWS):
        assert min(search.nearest(row) for search in searches)[1] == f"p{number}"


def test_clear_queries_find_the_same_both_ways() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.02, ROWS.shape).astype(np.float32)
    cost = search_cost({"eye": normalised(ROWS + noise)}, groups(), panel_of(groups()))
    assert cost is not None
    assert cost.same_product == 1.0
    assert cost.decision_ms > 0.0
    assert cost.all_anchors_ms > 0.0


@pytest.mark.parametrize("rows", [{}, {"eye": np.empty((0, 64), np.float32)}])
def test_without_queries_nothing_is_measured(rows: dict[str, np.ndarray]) -> None:
    assert search_cost(rows, groups(), panel_of(groups())) is None
