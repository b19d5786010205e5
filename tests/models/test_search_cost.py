"""What the centroids save is measured on the queries themselves, and both ways find the same."""

from __future__ import annotations

import numpy as np
import pytest

from edge.panel import panel_of
from models.groups import Groups
from models.search_cost import nearest_of_all, search_cost
from models.table import GroupTable, build_table, normalised
from tests.models.a_table import LIMITS, a_table, directions, looks
from tests.models.test_enrol import ByColour

ROWS = directions(40, 64, seed=3)
HALVES = {"warm": range(20), "cold": range(20, 40)}


def of(products: range) -> GroupTable:
    return build_table({f"p{i}": looks(ROWS[i], seed=i) for i in products}, 64, LIMITS)


def groups() -> Groups:
    tables = {name: of(products) for name, products in HALVES.items()}
    return Groups(tables, dict.fromkeys(tables, "eye"), {"eye": ByColour()})


def test_the_whole_search_finds_the_product_in_whatever_group_it_is() -> None:
    for number, row in enumerate(ROWS):
        assert nearest_of_all({"eye": row}, groups()) == f"p{number}"


def test_the_whole_search_tells_products_as_the_gate_does_at_the_anchors() -> None:
    random = np.random.default_rng(1)
    for tables in ({"warm": of(range(20))}, {"few": a_table(5), "one": a_table(1)}):
        found = Groups(tables, dict.fromkeys(tables, "eye"), {"eye": ByColour()})
        dim = next(iter(tables.values())).dim
        for row in normalised(random.normal(size=(30, dim)).astype(np.float32)):
            told = [
                (distance, sku)
                for table in tables.values()
                for distance, sku in zip(
                    table.refined(row, range(len(table))), table.skus, strict=True
                )
            ]
            assert nearest_of_all({"eye": row}, found) == min(told)[1]


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
