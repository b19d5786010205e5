"""Bundles of several category groups, through every command that makes or measures them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge.cli import main
from edge.embed import Recogniser
from models.bundle import Bundle, load_bundle
from tests.edge.a_grouped_shop import (
    a_grouped_bundle,
    a_model,
    catalogue,
    picture,
    pictures,
    skus_of,
)

KNOWN = [*skus_of("apples"), *skus_of("cherries"), *skus_of("milk")]


def shelfgate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, arguments)])


def said(*arguments: str | Path) -> dict[str, Any]:
    result = shelfgate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def products(bundle: Bundle) -> dict[str, set[str]]:
    """Return what each group knows; no product may be in two."""
    everything = Counter(sku for group in bundle.groups for sku in group.table.skus)
    assert max(everything.values()) == 1
    return {group.name: set(group.table.skus) for group in bundle.groups}


def test_every_group_is_asked_and_told_of_and_newcomers_go_to_theirs(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path).path
    new = ["milk-3", "berries-0", "berries-1"]
    told = said(
        "evaluate", "--bundle", bundle, "--catalogue", catalogue(tmp_path / "c.csv", KNOWN + new),
        "--enrol", pictures(tmp_path / "new", new), "--report", tmp_path / "report.html",
        "--query", pictures(tmp_path / "query", KNOWN + new, first=20),
    )  # fmt: skip
    assert told["accuracy"]["all"] >= 0.95
    assert told["counts"]["products"] == 12
    assert told["counts"]["enrolled"] == 3
    assert told["counts"]["in_no_table"] == 0
    by_group = told["by_group"]
    assert {n: (g["products"], g["queries"]) for n, g in by_group.items()} == {
        "warm": (8, 32), "cold": (4, 16)
    }  # fmt: skip
    assert by_group["cold"]["accuracy"] >= 0.9
    assert set(by_group["warm"]) == {"accuracy", "selective", "immediate", "products", "queries"}
    assert told["router"] == {"accuracy": 1.0, "sure": 1.0, "wrong_when_sure": 0.0}


def test_a_query_that_is_in_no_table_is_said(tmp_path: Path) -> None:
    skus = ["grass-0", "milk-0"]
    result = shelfgate(
        "evaluate", "--bundle", a_grouped_bundle(tmp_path).path,
        "--catalogue", catalogue(tmp_path / "c.csv", skus),
        "--enrol", pictures(tmp_path / "new", ["milk-0"]),
        "--query", pictures(tmp_path / "query", skus),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "4 queries show products that are in no table" in result.stderr


def test_thresholds_are_found_for_each_group_with_its_own_products(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path).path
    pictures(tmp_path / "query", KNOWN, count=25, first=20)
    pictures(tmp_path / "query", ["grass-0"])
    result = shelfgate(
        "calibrate", "--bundle", bundle, "--query", tmp_path / "query", "--coverage", "0.1",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert "4 pictures left out, of products the bundle does not know: grass-0" in result.stderr
    assert told["in_no_table"] == ["grass-0"]
    assert set(told["by_group"]) == {"warm", "cold"}
    after = load_bundle(tmp_path / "out")
    for group in after.groups:
        found = told["by_group"][group.name]
        assert not found["fallback"]
        assert group.table.thresholds.tl == pytest.approx(found["thresholds"]["tl"])
    limits = [group.table.thresholds for group in after.groups]
    assert limits[0] != limits[1]
    Recogniser(after, threads=1).check()


def test_a_group_that_no_query_shows_keeps_its_thresholds(tmp_path: Path) -> None:
    before = a_grouped_bundle(tmp_path)
    query = pictures(tmp_path / "query", skus_of("milk"), count=25, first=20)
    result = shelfgate(
        "calibrate", "--bundle", before.path, "--query", query, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    assert "group warm: no query shows its products" in result.stderr
    after = load_bundle(tmp_path / "out")
    assert after.group("warm").table.thresholds == before.group("warm").table.thresholds
    assert after.group("cold").table.thresholds != before.group("cold").table.thresholds


def test_what_the_bundle_knows_is_refused_as_unknown(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path).path
    result = shelfgate(
        "calibrate", "--bundle", bundle, "--out", tmp_path / "out",
        "--query", pictures(tmp_path / "query", ["milk-0"]), "--unknown", tmp_path / "query",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "--unknown milk-0: the bundle knows it" in result.stderr
    assert not (tmp_path / "out").exists()


def enrolled(
    folder: Path,
    bundle: Path,
    skus: list[str],
    *more: str | Path,
    categories: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], Bundle]:
    """Enrol products into a bundle; return what was said, and the new bundle."""
    told = said(
        "enrol", "--bundle", bundle, "--out", folder / "out", *more,
        "--catalogue", catalogue(folder / "new.csv", skus, categories),
        "--pictures", pictures(folder / "new", skus, first=30),
    )  # fmt: skip
    return told, load_bundle(folder / "out")


def test_a_new_product_goes_to_the_group_of_its_category_else_to_the_nearest(
    tmp_path: Path,
) -> None:
    bundle = a_grouped_bundle(tmp_path)
    told, after = enrolled(tmp_path, bundle.path, ["milk-3", "ice-0", "ice-1", "berries-0"])
    assert {e["sku"]: e["group"] for e in told["enrolled"]} == {
        "milk-3": "cold", "ice-0": "cold", "ice-1": "cold", "berries-0": "warm"
    }  # fmt: skip
    assert told["groups"] == {"warm": 7, "cold": 6}
    assert [group.name for group in after.groups] == ["warm", "cold"]
    assert {test.group for test in after.self_tests} == {"warm", "cold"}
    recogniser = Recogniser(after, threads=1)
    recogniser.check()
    # The router knows them too, or it would send them to the others.
    assert recogniser.decide([picture("ice-1", 50)]).nearest[0].sku == "ice-1"
    assert after.routes is not None
    assert len(after.routes.router.rows) == 13


def test_a_category_that_looks_like_no_group_is_said_to_need_one(tmp_path: Path) -> None:
    told, _ = enrolled(tmp_path, a_grouped_bundle(tmp_path).path, ["grass-0"])
    (report,) = told["enrolled"]
    assert any("it may need a group of its own" in warning for warning in report["warnings"])


def test_a_product_that_moves_to_another_group_leaves_the_first(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path)
    _, after = enrolled(tmp_path, bundle.path, ["apples-1"], "--group", "cold")
    known = products(after)
    assert "apples-1" in known["cold"]
    assert known["warm"] == {*skus_of("apples"), *skus_of("cherries")} - {"apples-1"}
    assert Recogniser(after, threads=1).decide([picture("apples-1", 50)]).sku == "apples-1"


def test_a_product_whose_category_changes_goes_with_it(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path)
    _, after = enrolled(tmp_path, bundle.path, ["apples-1"], categories={"apples-1": "milk"})
    assert "apples-1" in products(after)["cold"]


def test_a_product_that_is_replaced_stays_where_it_is(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path)
    _, after = enrolled(tmp_path, bundle.path, ["milk-1"], categories={"milk-1": "another"})
    assert products(after) == products(bundle)
    assert after.catalogue["milk-1"].category == "another"


def test_a_look_alike_in_another_group_is_named(tmp_path: Path) -> None:
    bundle = a_grouped_bundle(tmp_path)
    shown = pictures(tmp_path / "drawn", ["milk-1"], count=6, first=30)
    (shown / "milk-1").rename(shown / "twin")
    told = said(
        "enrol", "--bundle", bundle.path, "--out", tmp_path / "out", "--group", "warm",
        "--catalogue", catalogue(tmp_path / "new.csv", ["twin"]), "--pictures", shown,
    )  # fmt: skip
    assert told["enrolled"][0]["confused_with"] == "milk-1"


def test_where_models_differ_the_router_says_which_group_or_a_person_does(tmp_path: Path) -> None:
    models = {"warm": a_model(tmp_path, "one", seed=1), "cold": a_model(tmp_path, "two", seed=2)}
    bundle = a_grouped_bundle(tmp_path, models=models, margin=None)
    arguments = (
        "enrol", "--bundle", bundle.path,
        "--catalogue", catalogue(tmp_path / "c.csv", ["ice-0", "milk-3"]),
    )  # fmt: skip
    unclear = shelfgate(*arguments, "--pictures", pictures(tmp_path / "ice", ["ice-0"]))
    assert unclear.exit_code == 2
    assert "say which by --group" in unclear.stderr
    told = said(
        *arguments, "--pictures", pictures(tmp_path / "milk", ["milk-3"]), "--out", tmp_path / "o"
    )
    assert told["enrolled"][0]["group"] == "cold"
    figures = said(
        "evaluate", "--bundle", tmp_path / "o", "--enrol", tmp_path / "milk",
        "--catalogue", catalogue(tmp_path / "all.csv", [*KNOWN, "milk-3"]),
        "--query", pictures(tmp_path / "query", [*KNOWN, "milk-3"], first=40),
    )  # fmt: skip
    assert figures["by_group"]["cold"]["accuracy"] >= 0.75
    assert figures["by_group"]["warm"]["accuracy"] >= 0.75
    assert figures["router"] is None
    refused = shelfgate(
        "group", "--bundle", bundle.path, "--catalogue", tmp_path / "all.csv",
        "--pictures", tmp_path / "query", "--out", tmp_path / "regrouped",
    )  # fmt: skip
    assert refused.exit_code == 2
    assert "its groups have different models (one, two)" in refused.stderr
    assert not (tmp_path / "regrouped").exists()


def grouped(folder: Path, shown: list[str], *more: str | Path) -> tuple[Result, Bundle]:
    """Group a bundle of three groups anew by pictures of some products; return the new bundle."""
    three = {"warm": ("apples", "cherries"), "cold": ("milk",), "green": ("grass",)}
    bundle = a_grouped_bundle(folder, three)
    everything = [sku for group in bundle.groups for sku in group.table.skus]
    result = shelfgate(
        "group", "--bundle", bundle.path, "--out", folder / "out", "--json", *more,
        "--catalogue", catalogue(folder / "c.csv", everything), "--least", "3", "--most", "6",
        "--pictures", pictures(folder / "shown", shown),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    after = load_bundle(folder / "out")
    assert set().union(*products(after).values()) == set(everything)
    Recogniser(after, threads=1).check()
    return result, after


def test_grouping_again_keeps_the_products_of_all_groups(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result, after = grouped(tmp_path, [*KNOWN, *skus_of("grass")])
    assert json.loads(result.stdout)["in_bundle"] == {g.name: len(g.table) for g in after.groups}
    homes = {sku: name for name, skus in products(after).items() for sku in skus}
    for category in ("apples", "cherries", "milk", "grass"):
        assert len({homes[sku] for sku in skus_of(category)}) == 1
    assert homes["apples-0"] == homes["cherries-0"] != homes["milk-0"]
    decision = Recogniser(after, threads=1).decide([picture("milk-2", 60)])
    assert decision.nearest[0].sku == "milk-2"


def test_a_category_without_pictures_goes_to_the_nearest_group_and_it_is_said(
    tmp_path: Path,
) -> None:
    pytest.importorskip("sklearn")
    result, after = grouped(tmp_path, [*skus_of("apples"), *skus_of("milk"), *skus_of("grass")])
    assert "no picture of category 'cherries': looks like" in result.stderr
    homes = {sku: name for name, skus in products(after).items() for sku in skus}
    assert homes["cherries-2"] == homes["apples-0"] != homes["milk-0"]


def test_a_new_category_that_needs_a_group_gets_one_in_the_bundle(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result, after = grouped(tmp_path, [*KNOWN, *skus_of("grass")], "--new", "grass")
    told = json.loads(result.stdout)
    assert told["new"]["grass"]["group"] is None
    homes = {sku: name for name, skus in products(after).items() for sku in skus}
    assert Counter(homes.values())[homes["grass-0"]] == 3
    assert homes["grass-0"] not in told["groups"]
