"""The router: sure only where it may be, kept on disk, and never the reason for a wrong product."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.embed import Recogniser
from edge.enrolment import without_products
from edge.gate import Verdict
from models.bundle import DEFAULT_BUNDLE, Bundle, BundleError, Group, Routes, load_bundle
from models.bundle_writer import draft_of, write_bundle
from models.router import kept_up, load_router, routed, router_of, with_margin
from models.selftest import drawn
from models.table import TableError, normalised
from models.yardstick import MOST_LEAD
from tests.models.a_table import LIMITS, a_table, directions, looks

TABLES = {"one": a_table(6, 32, seed=1), "two": a_table(6, 32, seed=2)}


def queries(spread: float, each: int = 40) -> tuple[np.ndarray, list[str]]:
    rows = np.concatenate([table.centroids for table in TABLES.values()])
    noise = np.random.default_rng(0).normal(0, spread, (12 * each, 32))
    asked = normalised((np.repeat(rows, each, axis=0) + noise).astype(np.float32))
    return asked, ["one"] * 6 * each + ["two"] * 6 * each


def test_a_crop_goes_to_the_group_of_the_nearest_product() -> None:
    router = router_of(TABLES, margin=0.5)
    route = router.route(TABLES["two"].centroids[3])
    assert route.groups == ("two", "one")
    assert route.sure


def test_a_router_that_was_not_measured_is_never_sure() -> None:
    between = normalised(TABLES["one"].centroids[:1] + TABLES["two"].centroids[:1])[0]
    assert not router_of(TABLES).route(between).sure


def test_the_margin_keeps_sure_routes_right() -> None:
    asked, truth = queries(0.4)
    router = with_margin(router_of(TABLES), asked[::2], truth[::2], wrong=0.02)
    plain = routed(replace(router, margin=0.0), asked[1::2], truth[1::2])
    held = routed(router, asked[1::2], truth[1::2])
    assert plain.wrong_when_sure > 0.02
    assert held.wrong_when_sure <= 0.03
    assert 0.1 < held.sure < 1.0


def test_a_router_is_kept_on_disk(tmp_path: Path) -> None:
    router = router_of(TABLES, margin=0.7)
    router.save(tmp_path)
    again = load_router(tmp_path)
    assert (again.groups, again.margin) == (router.groups, 0.7)
    np.testing.assert_array_equal(again.rows, router.rows)
    (tmp_path / "router.json").write_text("{}")
    with pytest.raises(TableError, match="not a router"):
        load_router(tmp_path)


def test_a_router_apart_stays_sure_where_it_was_shown_what_is_new(tmp_path: Path) -> None:
    own = a_table(0, 32).with_products({f"q{n}": looks(v) for n, v in enumerate(directions(6, 32))})
    router_of({**TABLES, "two": own}, margin=0.7).save(tmp_path)
    router = load_router(tmp_path)
    elsewhere, at = directions(2, 32, seed=9)
    tables = {**TABLES, "two": own.with_products({"new": looks(elsewhere)})}
    kept = kept_up(router, tables, {"new": at}, shared=False)
    assert kept.margin == 0.7
    assert kept.route(at).groups[0] == "two"
    assert len(kept.rows) == 13
    # What is sold no more is forgotten, and what moved is in its new group alone.
    gone, moved = TABLES["one"].skus[:2]
    left = {"one": TABLES["one"].without([gone, moved]), "two": tables["two"]}
    left["two"] = left["two"].with_products({moved: looks(elsewhere)})
    after = kept_up(kept, left, shared=False)
    assert (after.margin, len(after.rows)) == (0.7, 12)
    assert after.route(TABLES["one"].centroids[1]).groups[0] == "two"


def test_a_router_apart_that_lacks_a_product_is_never_sure_again() -> None:
    router = router_of(TABLES, margin=0.7)
    more = {**TABLES, "two": TABLES["two"].with_products({"new": looks(directions(1, 32, 9)[0])})}
    assert kept_up(router, more, shared=False).margin == MOST_LEAD
    # As routers are that were made before rows had names.
    unnamed = replace(router, skus=())
    assert kept_up(unnamed, TABLES, shared=False).margin == MOST_LEAD


def two_groups(folder: Path, margin: float) -> Bundle:
    """Write a bundle of two groups that share a model, each knowing half the products."""
    bundle = load_bundle(DEFAULT_BUNDLE)
    source = bundle.groups[0]
    halves = source.table.skus[::2], source.table.skus[1::2]
    groups = [
        Group(name, source.model, source.table.without(other))
        for name, other in (("even", halves[1]), ("odd", halves[0]))
    ]
    router = router_of({group.name: group.table for group in groups}, margin)
    draft = replace(
        draft_of(bundle), groups=groups, routes=Routes(source.model, router), self_test=()
    )
    return write_bundle(folder, draft)


def test_a_wrong_route_asks_on_and_a_doubtful_one_asks_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = two_groups(tmp_path / "bundle", margin=MOST_LEAD)
    recogniser = Recogniser(bundle, threads=1)
    eye = bundle.groups[1].table.centroids[0]
    known = bundle.groups[1].table.skus[0]
    monkeypatch.setattr(recogniser.embedder("odd"), "embed_item", lambda crops: eye)
    assert recogniser.decide([drawn(0)]).sku == known
    # Both groups accept: nobody is charged on a guess.
    twin = bundle.groups[0].table.with_products({"twin": looks(eye)}).with_thresholds(LIMITS)
    gates = recogniser._gates
    gates["even"] = type(gates["even"])(twin, "even")
    assert recogniser.decide([drawn(0)]).verdict is Verdict.REVIEW


def test_a_sure_route_asks_one_group_and_others_only_where_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = two_groups(tmp_path / "bundle", margin=0.0)
    recogniser = Recogniser(bundle, threads=1)
    eye = bundle.groups[1].table.centroids[0]
    monkeypatch.setattr(recogniser.embedder("odd"), "embed_item", lambda crops: eye)
    decision = recogniser.decide([drawn(0)])
    assert (decision.group, decision.sku) == ("odd", bundle.groups[1].table.skus[0])
    far = directions(1, bundle.groups[1].table.dim, seed=8)[0]
    monkeypatch.setattr(recogniser.embedder("odd"), "embed_item", lambda crops: far)
    assert recogniser.decide([drawn(0)]).sku is None


def test_the_router_forgets_what_is_removed_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    bundle = two_groups(tmp_path / "bundle", margin=0.5)
    assert bundle.routes is not None
    gone = bundle.groups[0].table.skus[0]
    left = without_products(bundle, [gone])
    assert left.routes is not None
    assert len(left.routes.router.rows) == len(bundle.routes.router.rows) - 1
    assert left.routes.router.margin == 0.5
    (tmp_path / "bundle" / "router" / "router.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"router\.json is corrupt"):
        load_bundle(tmp_path / "bundle")
