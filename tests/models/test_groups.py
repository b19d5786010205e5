"""Groups asked as one answer as their products would in one table, and keep every product once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.gate import Gate
from edge.panel import panel_of
from models.bundle import BundleError
from models.catalogue import Catalogue, Product
from models.enrol import enrol
from models.evaluate import Questions, Task, evaluate_task, evaluated
from models.grouping import regrouped
from models.groups import Groups
from models.homes import Homes
from models.router import router_of
from models.table import GroupTable, TableError, build_table, merged
from tests.models.a_table import LIMITS, a_table, directions, looks
from tests.models.test_enrol import BLUE, RED, ByColour, picture

COLOURS = {"red": RED, "rose": (90, 60, 220), "blue": BLUE, "sky": (220, 160, 90)}
CATEGORY = {"red": "warm", "rose": "warm", "blue": "cold", "sky": "cold"}


def table_of(*skus: str) -> GroupTable:
    table = build_table({}, 64, LIMITS)
    for sku in skus:
        shown = [picture(COLOURS[sku], number) for number in range(4)]
        table = table.with_products({sku: enrol(sku, shown, ByColour(), table).looks})
    return table


def groups_of(tables: Mapping[str, GroupTable], margin: float | None = 0.2) -> Groups:
    model_of = dict.fromkeys(tables, "eye")
    router = None if margin is None else router_of(tables, margin)
    return Groups(tables, model_of, {"eye": ByColour()}, router, "eye", CATEGORY)


def written(folder: Path, *skus: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for sku in skus:
        (folder / sku).mkdir(parents=True)
        for number in range(6):
            path = folder / sku / f"{number}.png"
            cv2.imwrite(str(path), picture(COLOURS[sku], 90 + number))
            found.setdefault(sku, []).append(path)
    return found


def questions(folder: Path, **changed: Any) -> Questions:
    catalogue = Catalogue(Product(sku, sku, CATEGORY[sku]) for sku in COLOURS)
    asked = Questions(catalogue, {}, written(folder, *COLOURS), {}, frozenset({"red"}))
    return replace(asked, **changed)


def test_a_single_group_is_measured_as_its_table_alone(tmp_path: Path) -> None:
    asked = questions(tmp_path)
    table = table_of(*COLOURS)
    one = evaluated(groups_of({"all": table}, None), asked, panel_of).figures
    task = Task(table, asked.catalogue, {}, asked.query, {}, asked.trained)
    alone = evaluate_task(task, ByColour(), Gate)
    for figures in (one, alone):
        figures.pop("per_query_ms")
        figures.pop("search")
    assert one.pop("by_group").keys() == {"all"}
    assert alone.pop("by_group").keys() == {""}
    assert one == alone
    assert one["router"] is None


def test_groups_answer_as_one_table_would_where_products_are_far_apart(tmp_path: Path) -> None:
    asked = questions(tmp_path)
    one = evaluated(groups_of({"all": table_of(*COLOURS)}, None), asked, panel_of).figures
    apart = {"warm": table_of("red", "rose"), "cold": table_of("blue", "sky")}
    several = evaluated(groups_of(apart), asked, panel_of).figures
    assert several["accuracy"] == one["accuracy"] == {"trained": 1.0, "untrained": 1.0, "all": 1.0}
    assert several["counts"] == one["counts"]
    assert {n: g["accuracy"] for n, g in several["by_group"].items()} == {"warm": 1.0, "cold": 1.0}
    assert several["router"]["accuracy"] == 1.0


def test_a_router_that_is_wrong_is_told_of(tmp_path: Path) -> None:
    apart = {"warm": table_of("red", "rose"), "cold": table_of("blue", "sky")}
    right = groups_of(apart)
    assert right.router is not None
    crossed = replace(right, router=replace(right.router, owners=1 - right.router.owners))
    told = evaluated(crossed, questions(tmp_path), panel_of).figures
    assert told["router"] == {"accuracy": 0.0, "sure": 1.0, "wrong_when_sure": 1.0}
    # What the wrong group does not know is asked of the other: no confident wrong product.
    assert told["selective"]["accuracy"] == 1.0


def test_a_product_left_out_is_unknown_to_every_group(tmp_path: Path) -> None:
    apart = {"warm": table_of("red", "rose"), "cold": table_of("blue", "sky")}
    found = evaluated(groups_of(apart), questions(tmp_path), panel_of)
    assert len(found.left_out) == len(found.answers)
    for answer in found.left_out:
        assert answer.sku not in {candidate.sku for candidate in answer.ruling.nearest}


def test_what_is_enrolled_for_a_test_goes_to_the_group_of_its_category(tmp_path: Path) -> None:
    apart = {"warm": table_of("red"), "cold": table_of("blue")}
    new = written(tmp_path / "new", "rose", "sky")
    found = evaluated(groups_of(apart), questions(tmp_path / "query", enrol=new), panel_of)
    assert found.groups.home_of == {"red": "warm", "rose": "warm", "blue": "cold", "sky": "cold"}
    assert found.groups.router is not None
    assert len(found.groups.router.rows) == 4
    assert found.figures["counts"]["enrolled"] == 2


def test_products_of_a_new_category_go_together_and_to_the_nearest_group() -> None:
    groups = groups_of({"warm": table_of("red", "rose"), "cold": table_of("blue", "sky")})
    homes = Homes(groups, {"ruby": "gems", "topaz": "gems", "plain": ""})
    assert homes.known("ruby") is None
    assert homes.of("ruby", [picture(RED, 7)]).group == "warm"
    assert homes.of("topaz", [picture(BLUE, 7)]).group == "warm"
    assert homes.of("plain", [picture(BLUE, 8)]).group == "cold"
    assert homes.of("other", [picture(BLUE, 9)]).group == "cold"


def test_where_no_model_sees_all_groups_the_router_does_or_nobody() -> None:
    groups = groups_of({"warm": table_of("red"), "cold": table_of("blue")})
    apart = replace(groups, model_of={"warm": "eye", "cold": "other"})
    assert Homes(apart, {}).of("new", [picture(BLUE, 7)]).group == "cold"
    with pytest.raises(BundleError, match="none is nearest: say which"):
        Homes(replace(apart, router=None), {}).of("new", [picture(BLUE, 7)])


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    seed=st.integers(0, 999),
)
def test_regrouping_keeps_every_product_once_as_it_was(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = directions(sum(sizes), 8, seed)
    skus = iter([f"p{number}" for number in range(len(rows))])
    named = {sku: looks(row, seed=number) for number, (sku, row) in
             enumerate(zip([f"p{n}" for n in range(len(rows))], rows, strict=True))}  # fmt: skip
    tables = {
        f"old-{number}": build_table(
            {s: named[s] for s in [next(skus) for _ in range(n)]}, 8, LIMITS
        )
        for number, n in enumerate(sizes)
    }
    group_of = {sku: f"new-{random.integers(3)}" for sku in named}
    found = regrouped(tables, group_of)
    assert sorted(sku for table in found.values() for sku in table.skus) == sorted(named)
    for name, table in found.items():
        for row, sku in enumerate(table.skus):
            assert group_of[sku] == name
            np.testing.assert_array_equal(table.centroids[row], named[sku].centroid)
            assert len(table.anchors_of(row)) == len(named[sku].anchors)


def test_a_group_of_mixed_origin_accepts_from_nearer_only() -> None:
    old = {
        "a": a_table(3, thresholds=LIMITS),
        "b": build_table({"x": looks(directions(1)[0])}, 16, LIMITS),
    }
    mixed = regrouped(old, dict.fromkeys(["p0", "p1", "p2", "x"], "new"))
    assert mixed["new"].thresholds == LIMITS.carried()
    kept = regrouped(old, {"p0": "one", "p1": "one", "p2": "two", "x": "three"})
    assert {table.thresholds for table in kept.values()} == {LIMITS}


def test_what_two_tables_know_is_kept_as_the_first_has_it() -> None:
    first, second = a_table(2, seed=1), a_table(3, seed=2)
    both = merged([first, second])
    assert both.skus == ("p0", "p1", "p2")
    np.testing.assert_array_equal(both.centroids[0], first.centroids[0])
    np.testing.assert_array_equal(both.anchors_of(2), second.anchors_of(2))
    with pytest.raises(TableError, match="different dimensions"):
        merged([first, a_table(2, dim=8)])
