"""Bundles of one model each become one: nothing is lost, and each product is still recognised."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import main
from edge.embed import Recogniser, open_embedder
from edge.gate import Gate, Verdict
from models.bundle import Bundle, BundleError, Group, Model, Routes, load_bundle
from models.bundle_writer import Draft, draft_of, write_bundle
from models.catalogue import Catalogue, Product
from models.enrol import enrol
from models.join import joined
from models.pictures import find_pictures, labelled, read_picture
from models.router import with_margin
from models.selftest import made as made_self_test
from models.table import Thresholds, build_table
from models.yardstick import MOST_LEAD
from tests.cloud_sync.a_bundle import a_network
from tests.models.drawn_pictures import put_pictures

SIDE, DIM = 32, 16
LIMITS = Thresholds(tl=0.1, th=0.6, margin=0.5, anchor_accept=0.15, anchor_margin=0.5)
DRINKS, FRUIT = range(4), range(4, 8)


def put_numbers(folder: Path, numbers: range, count: int, seed: int) -> None:
    """Write pictures of the drawn products of these numbers."""
    random = np.random.default_rng(seed)
    put_pictures(folder, {f"p{number}": number for number in numbers}, count, random)


def a_group(folder: Path, bundle_id: str, numbers: range, seed: int) -> Bundle:
    """Write a bundle of one network of its own, which knows these drawn products."""
    network = folder / f"{bundle_id}-network" / "small.xml"
    a_network(network, dim=DIM, seed=seed)
    model = Model("small", network, network.with_suffix(".onnx"), SIDE, DIM, "stretch", frozenset())
    embedder = open_embedder(model, threads=1)
    table = build_table({}, DIM, LIMITS)
    for sku, paths in find_pictures([folder / "train"]).items():
        if int(sku[1:]) in numbers:
            made = enrol(sku, [read_picture(path) for path in paths], embedder, table)
            table = table.with_products({sku: made.looks})
    group = Group("all", model, table)
    tests, crops = made_self_test(group, embedder, Gate(table, "all"))
    draft = Draft(
        bundle_id=bundle_id,
        version=2,
        groups=[group],
        catalogue=Catalogue(Product(sku, sku.upper(), bundle_id) for sku in table.skus),
        licences={"small": f"free for {bundle_id}"},
        provenance={"seed": seed},
        self_test=tests,
        files={**crops, "licences/TERMS.txt": f"terms of {bundle_id}".encode()},
    )
    return write_bundle(folder / bundle_id, draft)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures to learn from and to ask with, and two bundles."""
    folder = tmp_path_factory.mktemp("shop")
    put_numbers(folder / "train", range(8), 6, seed=1)
    put_numbers(folder / "query", range(8), 16, seed=2)
    put_numbers(folder / "many", range(8), 100, seed=3)
    a_group(folder, "drinks", DRINKS, seed=1)
    a_group(folder, "fruit", FRUIT, seed=2)
    return folder


def join(shop: Path, out: Path, *arguments: str | Path) -> Result:
    names = ["models", "join", shop / "drinks", shop / "fruit", "--json", "--out", out, *arguments]
    return CliRunner().invoke(main, list(map(str, names)))


def answers(bundle: Bundle, shop: Path) -> list[tuple[str, str | None]]:
    recogniser = Recogniser(bundle, threads=1)
    asked = labelled(find_pictures([shop / "query"]))
    return [(sku, recogniser.decide([read_picture(path)]).sku) for sku, path in asked]


def test_a_product_of_each_is_recognised_in_what_was_joined(shop: Path, tmp_path: Path) -> None:
    result = join(shop, tmp_path / "all", "--query", shop / "query")
    assert result.exit_code == 0, result.output
    assert "no router" in result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    assert said["groups"] == {"drinks": 4, "fruit": 4}
    assert said["router"] is None
    found = answers(load_bundle(tmp_path / "all"), shop)
    right = {sku for sku, answer in found if answer == sku}
    assert right == {f"p{number}" for number in range(8)}
    assert all(answer in (sku, None) for sku, answer in found)
    assert said["measured"]["queries"] == len(found)
    assert said["measured"]["right"] == 1.0


def test_a_planogram_says_which_of_two_groups_that_know_an_item_is_asked(shop: Path) -> None:
    bundle = load_bundle(shop / "drinks")
    only = bundle.groups[0]
    twice = replace(bundle, groups=tuple(replace(only, name=name) for name in ("left", "right")))
    recogniser = Recogniser(twice, threads=1)
    crop = read_picture(find_pictures([shop / "train"])["p0"][0])
    assert recogniser.decide([crop]).verdict is Verdict.REVIEW
    for name in ("left", "right"):
        decision = recogniser.decide([crop], groups=["nowhere", name])
        assert (decision.sku, decision.group) == ("p0", name)


@pytest.mark.slow
def test_a_router_by_the_first_network_knows_where_products_of_the_other_are(
    shop: Path, tmp_path: Path
) -> None:
    result = join(shop, tmp_path / "all", "--pictures", shop / "train", "--query", shop / "many")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["router"]["accuracy"] > 0.9
    assert said["router"]["sure"] > 0.5
    bundle = load_bundle(tmp_path / "all")
    assert bundle.routes is not None
    assert bundle.routes.model is bundle.groups[0].model
    found = answers(bundle, shop)
    assert {sku for sku, answer in found if answer == sku} == {f"p{n}" for n in range(8)}
    assert all(answer in (sku, None) for sku, answer in found)


@pytest.mark.slow
def test_the_router_stays_sure_after_a_product_of_another_network_is_enrolled(
    shop: Path, tmp_path: Path
) -> None:
    join(shop, tmp_path / "all", "--pictures", shop / "train", "--query", shop / "many")
    before = load_bundle(tmp_path / "all").routes
    put_numbers(tmp_path / "train", range(8, 9), 6, seed=4)
    put_numbers(tmp_path / "query", range(8, 9), 16, seed=5)
    catalogue = tmp_path / "new.csv"
    catalogue.write_text("sku,name,category\np8,A newcomer,fruit\n", encoding="utf-8")
    names = ["models", "enrol", "--bundle", tmp_path / "all", "--out", tmp_path / "next"]
    names += ["--catalogue", catalogue, "--pictures", tmp_path / "train", "--json"]
    result = CliRunner().invoke(main, list(map(str, names)))
    assert result.exit_code == 0, result.output
    bundle = load_bundle(tmp_path / "next")
    assert before is not None
    assert bundle.routes is not None
    assert bundle.routes.router.margin == before.router.margin < MOST_LEAD
    assert set(bundle.routes.router.skus) == {f"p{number}" for number in range(9)}
    for folder in (shop, tmp_path):
        found = answers(bundle, folder)
        assert {sku for sku, answer in found if answer == sku} == {sku for sku, _ in found}
        assert all(answer in (sku, None) for sku, answer in found)


def with_a_twin(bundle: Bundle, shop: Path) -> Bundle:
    """Return the bundle with a product among the fruit that looks like p0, which is a drink."""
    drinks, fruit = bundle.groups
    pictures = [read_picture(path) for path in sorted((shop / "train" / "p0").iterdir())]
    twin = enrol("twin", pictures, open_embedder(fruit.model, threads=1), fruit.table)
    table = fruit.table.with_products({"twin": twin.looks})
    return replace(bundle, groups=(drinks, replace(fruit, table=table)))


def test_a_wrong_route_is_no_confident_wrong_product(shop: Path, tmp_path: Path) -> None:
    """Whose products are whose is exchanged in the router, so that every route is wrong."""
    join(shop, tmp_path / "all", "--pictures", shop / "train", "--query", shop / "query")
    bundle = with_a_twin(load_bundle(tmp_path / "all"), shop)
    assert bundle.routes is not None
    router, model = bundle.routes.router, bundle.routes.model
    wrong = replace(router, owners=1 - router.owners)
    careless = Routes(model, replace(wrong, margin=0.0))
    assert ("p0", "twin") in answers(replace(bundle, routes=careless), shop)
    # Held against pictures it is never sure: all groups are asked, and none is taken at its word.
    asked = list(labelled(find_pictures([shop / "query"])))
    embedder = open_embedder(model, threads=1)
    rows = np.stack(list(embedder.embed_many(read_picture(path) for _, path in asked)))
    homes = ["drinks" if int(sku[1:]) in DRINKS else "fruit" for sku, _ in asked]
    measured = with_margin(wrong, rows, homes)
    assert measured.margin == MOST_LEAD
    found = answers(replace(bundle, routes=Routes(model, measured)), shop)
    assert ("p0", "twin") not in found
    assert {sku for sku, answer in found if answer == sku} >= {f"p{n}" for n in range(1, 8)}


def test_what_two_groups_know_is_a_question_for_a_person(shop: Path, tmp_path: Path) -> None:
    join(shop, tmp_path / "all")
    bundle = with_a_twin(load_bundle(tmp_path / "all"), shop)
    picture = read_picture(shop / "train" / "p0" / "0.png")
    decision = Recogniser(bundle, threads=1).decide([picture])
    assert decision.verdict is Verdict.REVIEW
    assert {candidate.sku for candidate in decision.nearest[:2]} == {"p0", "twin"}


def test_licences_self_tests_and_provenance_of_each_are_kept(shop: Path, tmp_path: Path) -> None:
    join(shop, tmp_path / "all")
    parts = [load_bundle(shop / name) for name in ("drinks", "fruit")]
    bundle = load_bundle(tmp_path / "all")
    assert sorted(bundle.licences.values()) == ["free for drinks", "free for fruit"]
    terms = {path.read_text() for path in (bundle.path / "licences").iterdir()}
    assert terms == {"terms of drinks", "terms of fruit"}
    assert [test.group for test in bundle.self_tests] == ["drinks"] * 6 + ["fruit"] * 6
    assert [part["provenance"] for part in bundle.provenance["joined"]] == [
        {"seed": 1}, {"seed": 2}
    ]  # fmt: skip
    assert [part["digest"] for part in bundle.provenance["joined"]] == [p.digest for p in parts]
    assert {sku: p.category for sku, p in bundle.catalogue.items()} == {
        f"p{n}": "drinks" if n in DRINKS else "fruit" for n in range(8)
    }
    models = {group.model.name for group in bundle.groups}
    assert len(models) == 2
    assert bundle.version == 3


def test_groups_that_share_a_network_carry_it_once(shop: Path, tmp_path: Path) -> None:
    drinks = load_bundle(shop / "drinks")
    group = drinks.groups[0]
    halves = group.table.skus[:2], group.table.skus[2:]
    parts = [
        write_bundle(
            tmp_path / name,
            replace(
                draft_of(drinks),
                bundle_id=name,
                groups=[Group("all", group.model, group.table.without(other))],
                self_test=(),
            ),
        )
        for name, other in zip(("one", "two"), halves, strict=True)
    ]
    first, second = joined(parts, "both").groups
    assert first.model is second.model


def test_bundles_of_one_id_are_told_apart_by_their_folders(shop: Path, tmp_path: Path) -> None:
    draft = replace(draft_of(load_bundle(shop / "fruit")), bundle_id="drinks")
    parts = load_bundle(shop / "drinks"), write_bundle(tmp_path / "other", draft)
    assert [group.name for group in joined(parts, "both").groups] == ["drinks", "other"]


def test_what_cannot_be_joined_is_said_in_one_line(shop: Path, tmp_path: Path) -> None:
    def refused(*arguments: str | Path) -> str:
        names = ["models", "join", *arguments, "--out", tmp_path / "out"]
        result = CliRunner().invoke(main, list(map(str, names)))
        assert result.exit_code == 2, result.output
        assert not (tmp_path / "out").exists()
        return result.stderr

    drinks, fruit = shop / "drinks", shop / "fruit"
    assert "two bundles or more" in refused(drinks)
    assert f"'p0' is in {drinks} and in {drinks}" in refused(drinks, fruit, drinks)
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "p4").symlink_to(shop / "train" / "p4")
    few = refused(drinks, fruit, "--pictures", tmp_path / "few")
    assert "no pictures of p5 and 2 more: a router needs some of each product" in few
    assert "needs --pictures" in refused(drinks, fruit, "--router", fruit)
    other = refused(drinks, fruit, "--pictures", shop / "train", "--router", tmp_path)
    assert "is none of the bundles that are joined" in other
    named = replace(draft_of(load_bundle(fruit)), bundle_id="drinks")
    same = write_bundle(tmp_path / "same" / "drinks", named).path
    assert "two groups would be called 'drinks'" in refused(drinks, same)


def test_two_networks_of_one_name_are_never_written_as_one(shop: Path, tmp_path: Path) -> None:
    groups = [
        Group(name, load_bundle(shop / name).groups[0].model, build_table({}, DIM, LIMITS))
        for name in ("drinks", "fruit")
    ]
    draft = replace(draft_of(load_bundle(shop / "drinks")), groups=groups, self_test=())
    with pytest.raises(BundleError, match="two models are called 'small'"):
        write_bundle(tmp_path / "out", draft)
