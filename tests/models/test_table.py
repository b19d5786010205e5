"""Tables keep exact values, on disk and when products come and go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.search import Search
from models.table import (
    DESCRIPTION,
    FILES,
    PRODUCTS,
    GroupTable,
    Looks,
    TableError,
    Thresholds,
    build_table,
    load_table,
)
from models.yardstick import Yardstick, lead
from tests.models.a_table import LIMITS, a_table, directions, looks


def test_a_saved_table_opens_to_the_same_and_cannot_be_written(tmp_path: Path) -> None:
    table = a_table(thresholds=LIMITS)
    table.save(tmp_path)
    again = load_table(tmp_path)
    assert (again.skus, again.thresholds) == (table.skus, LIMITS)
    np.testing.assert_array_equal(again.centroids, table.centroids)
    np.testing.assert_array_equal(again.anchors, table.anchors)
    with pytest.raises(ValueError, match="read-only"):
        again.centroids[0, 0] = 1.0


def test_anchors_are_kept_in_half_precision_and_older_ones_as_they_were(tmp_path: Path) -> None:
    table = a_table(3)
    assert table.anchors.dtype == np.float16
    rows = np.ascontiguousarray(table.anchors, np.float32)
    older = replace(table, anchors=rows)
    older.save(tmp_path)
    grown = (
        load_table(tmp_path).with_products({"new": looks(directions(1, seed=9)[0])}).without(["p0"])
    )
    assert grown.anchors.dtype == np.float32
    np.testing.assert_array_equal(grown.anchors_of(0), older.anchors_of(1))
    asked = directions(1, seed=4)[0]
    exact = older.refined(asked, [0, 1, 2])
    np.testing.assert_allclose(table.refined(asked, [0, 1, 2]), exact, atol=1e-3)


def test_an_empty_table_can_be_saved(tmp_path: Path) -> None:
    build_table({}, 8, LIMITS).save(tmp_path)
    assert len(load_table(tmp_path)) == 0


def test_adding_a_product_leaves_the_others_exactly_as_they_were() -> None:
    table = a_table(4)
    grown = table.with_products({"new": looks(directions(1, seed=9)[0], anchors=2)})
    assert grown.skus == (*table.skus, "new")
    np.testing.assert_array_equal(grown.centroids[:4], table.centroids)
    for row in range(4):
        np.testing.assert_array_equal(grown.anchors_of(row), table.anchors_of(row))
    assert grown.anchors_of(4).shape == (2, 16)


def test_a_known_product_is_replaced() -> None:
    table = a_table(3)
    new = looks(directions(1, seed=9)[0], anchors=1)
    grown = table.with_products({"p1": new})
    assert sorted(grown.skus) == ["p0", "p1", "p2"]
    row = grown.skus.index("p1")
    np.testing.assert_array_equal(grown.centroids[row], new.centroid)


def test_products_can_be_taken_out() -> None:
    left = a_table(3).without(["p1", "unheard-of"])
    assert left.skus == ("p0", "p2")
    np.testing.assert_array_equal(left.anchors_of(1), a_table(3).anchors_of(2))
    assert len(a_table(1).without(["p0"])) == 0


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_no_table(name: str, tmp_path: Path) -> None:
    a_table().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(TableError, match="not a table"):
        load_table(tmp_path)


def test_parts_that_do_not_fit_are_refused() -> None:
    table = a_table(2)
    with pytest.raises(TableError, match="2 skus but 1 centroids"):
        GroupTable(table.skus, table.centroids[:1], table.anchors, table.offsets, LIMITS)
    with pytest.raises(TableError, match="offsets"):
        GroupTable(table.skus, table.centroids, table.anchors[:-1], table.offsets, LIMITS)
    with pytest.raises(TableError, match="twice"):
        GroupTable(("a", "a"), table.centroids, table.anchors, table.offsets, LIMITS)


def test_embeddings_that_are_not_normalised_are_refused() -> None:
    long = 2 * directions(1)[0]
    with pytest.raises(TableError, match="normalised"):
        build_table({"p": Looks(long, long[None])}, 16, LIMITS)


@pytest.mark.parametrize(
    "values", [{"tl": 0.6, "th": 0.5}, {"tl": float("nan")}, {"th": 3.0}, {"margin": -0.1}]
)
def test_thresholds_make_sense(values: dict[str, float]) -> None:
    sound = {"tl": 0.3, "th": 0.5, "margin": 0.5, "anchor_accept": 0.4, "anchor_margin": 0.5}
    with pytest.raises(TableError, match="threshold"):
        Thresholds(**{**sound, **values})


def test_other_goods_have_to_be_nearer_to_be_accepted_and_are_rejected_as_before() -> None:
    assert LIMITS.carried(least_lead=0.0).margin == LIMITS.margin
    clear = LIMITS.carried(least_lead=7.0)
    assert (clear.margin, clear.anchor_margin) == (7.0, 14.0)
    carried = LIMITS.carried()
    assert carried.tl < LIMITS.tl
    assert carried.anchor_accept < LIMITS.anchor_accept
    assert (carried.th, carried.margin) == (LIMITS.th, LIMITS.margin)


def test_the_lead_is_a_share_of_the_first_distance() -> None:
    assert lead([0.2, 0.3]) == pytest.approx(0.5)
    assert lead([0.0, 0.01]) == pytest.approx(0.2)
    assert lead([0.3]) == pytest.approx(1.0)


def test_a_table_of_the_second_format_decides_as_it_did_for_its_maker(tmp_path: Path) -> None:
    table = a_table(2, thresholds=LIMITS)
    new = replace(table.looks_of(1), handicap=-0.1)
    table.with_products({"p1": new}).save(tmp_path)
    distances = [0.2, 0.3]
    assert Search(load_table(tmp_path)).lead([0, 1], distances) < lead(distances)
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    del described["yardstick"]["doubt"]
    (tmp_path / DESCRIPTION).write_text(json.dumps({**described, "format": 2}))
    assert Search(load_table(tmp_path)).lead([0, 1], distances) == lead(distances)


def test_a_table_of_the_first_format_opens_and_tells_distances_plainly(tmp_path: Path) -> None:
    table = a_table(thresholds=LIMITS)
    table.save(tmp_path)
    (tmp_path / PRODUCTS).unlink()
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    old = {key: described[key] for key in ("skus", "thresholds")}
    (tmp_path / DESCRIPTION).write_text(json.dumps(old))
    again = load_table(tmp_path)
    assert again.yardstick == Yardstick(anchors=0.3, doubt=0.0)
    assert not again.products.any()
    assert again.skus == table.skus


def test_a_table_of_a_later_format_is_refused(tmp_path: Path) -> None:
    a_table().save(tmp_path)
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    (tmp_path / DESCRIPTION).write_text(json.dumps({**described, "format": 4}))
    with pytest.raises(TableError, match="format 4"):
        load_table(tmp_path)


def test_spread_handicap_and_yardstick_are_kept(tmp_path: Path) -> None:
    told = Yardstick(crowd=0.5, spread=0.25, usual_crowd=0.4, usual_spread=0.2)
    table = a_table(3).with_handicap(["p1"], 0.05).with_thresholds(LIMITS, told)
    table = table.with_products({"p2": replace(looks(directions(1)[0]), spread=0.3)})
    table.save(tmp_path)
    again = load_table(tmp_path)
    assert again.yardstick == told
    np.testing.assert_array_equal(again.handicaps, np.array([0.0, 0.05, 0.0], np.float32))
    np.testing.assert_array_equal(again.spreads, np.array([0.0, 0.0, 0.3], np.float32))


def test_a_product_enrolled_again_keeps_its_handicap() -> None:
    table = a_table(3).with_handicap(["p1"], 0.05)
    again = table.with_products({"p1": looks(directions(1, seed=9)[0])})
    assert again.handicaps[again.skus.index("p1")] == pytest.approx(0.05)


def test_a_crowd_and_a_uniform_product_make_the_same_distance_stranger() -> None:
    told = Yardstick(crowd=0.5, spread=0.5, usual_crowd=0.5, usual_spread=0.1)
    plain = told.strangeness([0.2, 0.5, 0.5], 0.1)
    assert plain == pytest.approx(0.2)
    assert told.strangeness([0.2, 0.25, 0.25], 0.1) > plain
    assert told.strangeness([0.2, 0.5, 0.5], 0.05) > plain
    assert told.strangeness([0.2, 0.5, 0.5], 0.0) == pytest.approx(0.2)
    assert told.strangeness([0.2], 0.1) < plain
    # One that varies much is not to be accepted from farther.
    assert told.strangeness([0.2, 0.5, 0.5], 0.4) == plain
