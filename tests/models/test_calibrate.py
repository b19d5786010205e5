"""Thresholds keep what is wanted, and too few queries make safe ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.gate import Gate
from models.bounds import most_within, surely_within, upper_bound
from models.calibrate import Evidence, Kind, Wanted, calibrate, evidence, joined
from models.evaluate import auroc
from models.readings import Stage
from models.table import SAFE, GroupTable, build_table, normalised
from models.whitening import Labelled, fit_projection
from tests.models.a_table import a_table, directions, looks


def queries(table_rows: np.ndarray, each: int, spread: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread, (len(table_rows) * each, 32))
    return normalised((np.repeat(table_rows, each, axis=0) + noise).astype(np.float32))


def test_thresholds_keep_wrong_and_unknown_accepts_within_what_is_wanted() -> None:
    rows = directions(60, 32, seed=1)
    table = build_table({f"p{i}": looks(rows[i], seed=i) for i in range(40)}, 32, SAFE)
    asked = [f"p{i}" for i in range(40) for _ in range(20)]
    known = evidence(table, queries(rows[:40], 20, 0.12), asked)
    unknown = evidence(table, queries(rows[40:], 20, 0.12, seed=1), [""] * 400)
    found = calibrate([Kind(known, unknown)], Wanted(wrong=0.02, unknown=0.02, coverage=0.0))
    assert not found.fallback
    assert found.wrong <= 0.02
    assert found.unknown_accepted <= 0.02
    assert found.immediate + found.refined > 0.3
    gate = Gate(table.with_thresholds(found.thresholds))
    rulings = [gate.decide(row) for row in queries(rows[:40], 20, 0.12)]
    accepted = np.mean([ruling.sku is not None for ruling in rulings])
    assert accepted == pytest.approx(found.immediate + found.refined, abs=0.01)


def test_where_nothing_can_be_told_apart_nothing_is_accepted() -> None:
    rows = directions(40, 32, seed=2)
    table = build_table({f"p{i}": looks(rows[i], seed=i) for i in range(40)}, 32, SAFE)
    noise = directions(400, 32, seed=3)
    known = evidence(table, noise, [f"p{i % 40}" for i in range(400)])
    found = calibrate([Kind(known, evidence(table, noise, [""] * 400))])
    assert found.immediate + found.refined < 0.02


def a_shop(each: int, spread: float = 0.12, seed: int = 0) -> tuple[GroupTable, np.ndarray, Kind]:
    """Return a table of 40 products, queries with `each` pictures of them, and what it sees."""
    rows = directions(60, 32, seed=1)
    table = build_table({f"p{i}": looks(rows[i], seed=i) for i in range(40)}, 32, SAFE)
    asked = queries(rows[:40], each, spread, seed)
    known = evidence(table, asked, [f"p{i}" for i in range(40) for _ in range(each)])
    unknown = evidence(table, queries(rows[40:], 20, spread, seed=1), [""] * 400)
    return table, asked, Kind(known, unknown)


@pytest.mark.parametrize("missed", [0.01, 0.05, 0.2])
def test_surely_no_more_of_the_known_are_rejected_than_wanted(missed: float) -> None:
    table, asked, kind = a_shop(20, 0.3)
    wanted = Wanted(missed=missed, confidence=0.95, coverage=0.0)
    found = calibrate([kind], wanted)
    gate = Gate(table.with_thresholds(found.thresholds, found.yardstick))
    rejected = sum(gate.decide(row).verdict == "reject" for row in asked)
    assert found.rejected == pytest.approx(rejected / len(asked))
    assert found.rejected_at_most == upper_bound(rejected, len(asked), 0.95) <= missed
    assert "wrong rejects" not in found.doubt
    # No more is let through than that takes: one picture more would be too many to be sure.
    assert not surely_within(rejected + 1, len(asked), missed, 0.95)


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_of_wrong_rejects_holds_for_pictures_that_come_later(seed: int) -> None:
    table, _, kind = a_shop(20, 0.3, seed)
    found = calibrate([kind], Wanted(missed=0.05, confidence=0.95, coverage=0.0))
    gate = Gate(table.with_thresholds(found.thresholds, found.yardstick))
    later = queries(directions(60, 32, seed=1)[:40], 20, 0.3, seed=seed + 100)
    assert np.mean([gate.decide(row).verdict == "reject" for row in later]) <= 0.05


def test_too_few_pictures_to_be_sure_of_wrong_rejects_reject_none_and_it_is_said() -> None:
    table, asked, kind = a_shop(2)
    found = calibrate([kind], Wanted(missed=0.01, confidence=0.95, coverage=0.0))
    gate = Gate(table.with_thresholds(found.thresholds, found.yardstick))
    assert all(gate.decide(row).verdict != "reject" for row in asked)
    assert (
        "80 pictures of known products are too few to be sure of 1.0% wrong rejects" in found.doubt
    )
    assert found.rejected_at_most == upper_bound(0, 80, 0.95) > 0.01
    assert "it may be 3.7%" in found.doubt


def test_of_each_kind_of_goods_no_more_are_rejected_than_wanted() -> None:
    _, _, near = a_shop(20, 0.1)
    _, _, far = a_shop(3, 0.3)
    found = calibrate([near, far], Wanted(missed=0.05, coverage=0.0))
    first, second = far.known.first, far.known.second
    strange = np.maximum(*(part.strangeness(found.yardstick) for part in (first, second)))
    assert 0 < np.mean(strange > found.thresholds.th) <= 0.05


def test_unknown_items_that_may_be_accepted_more_often_than_wanted_are_said() -> None:
    _, _, kind = a_shop(20)
    few = Kind(kind.known, kind.unknown.where(np.arange(400) % 6 == 0))
    found = calibrate([few], Wanted(unknown=0.02, confidence=0.95, coverage=0.0))
    assert found.unknown_accepted <= 0.02 < found.unknown_at_most
    assert (
        "67 pictures of unknown items are too few to be sure that no more than 2.0%" in found.doubt
    )
    enough = calibrate([kind], Wanted(unknown=0.02, confidence=0.6, coverage=0.0))
    assert enough.unknown_at_most <= 0.02
    assert not enough.doubt


def test_before_too_little_is_accepted_the_unknown_are_let_go_of_and_it_is_said() -> None:
    rows = directions(60, 32, seed=1)
    table = build_table({f"p{i}": looks(rows[i], seed=i) for i in range(40)}, 32, SAFE)
    asked = [f"p{i}" for i in range(40) for _ in range(10)]
    known = evidence(table, queries(rows[:40], 10, 0.05), asked)
    # Unknown items that lie where known ones do, a tenth of them.
    near = np.concatenate([queries(rows[:40], 1, 0.05, seed=3), directions(360, 32, seed=4)])
    unknown = evidence(table, near, [""] * 400)
    strict = calibrate([Kind(known, unknown)], Wanted(unknown=0.02, coverage=0.0))
    eased = calibrate([Kind(known, unknown)], Wanted(unknown=0.02, coverage=0.9))
    assert strict.unknown_accepted <= strict.unknown_wanted == 0.02
    assert eased.unknown_wanted > 0.02
    assert eased.immediate + eased.refined > 0.9 > strict.immediate + strict.refined


def test_views_of_one_picture_count_as_one_picture() -> None:
    table = a_table(5)
    rows = np.repeat(table.centroids, 30, axis=0)
    asked = [sku for sku in table.skus for _ in range(30)]
    views = [number // 30 for number in range(150)]
    known = evidence(table, rows, asked, pictures=views)
    found = calibrate([Kind(known, evidence(table, rows, asked, without_own=True))])
    assert "5 known" in found.fallback


def test_the_bound_of_a_rate_is_clopper_and_pearsons() -> None:
    from scipy.stats import beta

    for seen, of in ((0, 60), (3, 200), (17, 40)):
        assert upper_bound(seen, of, 0.9) == pytest.approx(
            beta.ppf(0.9, seen + 1, of - seen), abs=1e-6
        )
    assert upper_bound(5, 5, 0.9) == 1.0
    assert surely_within(0, 300, 0.01, 0.9)
    assert not surely_within(0, 100, 0.01, 0.9)


@given(of=st.integers(1, 3000), rate=st.floats(0.001, 0.5), confidence=st.floats(0.0, 0.999))
def test_the_most_that_may_be_seen_is_the_last_that_is_surely_within(
    of: int, rate: float, confidence: float
) -> None:
    most = most_within(of, rate, confidence)
    assert most < 0 or surely_within(most, of, rate, confidence)
    assert not surely_within(most + 1, of, rate, confidence)


def test_too_few_queries_fall_back_to_safe_thresholds_and_say_so() -> None:
    table = a_table(5)
    few = evidence(table, table.centroids, table.skus)
    found = calibrate([Kind(few, few)])
    assert found.thresholds == SAFE
    assert "5 known" in found.fallback


def test_safe_thresholds_reject_nothing_that_looks_at_all_like_what_is_sold() -> None:
    table, asked, kind = a_shop(5, 0.35)
    strange = kind.known.first.near[:, 0]
    assert np.quantile(strange, 0.5) > 0.5
    assert all(Gate(table).decide(row).verdict != "reject" for row in asked)
    few = a_table(5)
    away = normalised(-few.centroids.sum(axis=0, keepdims=True))[0]
    assert Gate(few).decide(away).verdict == "reject"


def test_queries_of_a_single_product_fall_back_to_safe_thresholds_and_say_so() -> None:
    table = a_table(5)
    rows, asked = np.repeat(table.centroids[:1], 80, axis=0), [table.skus[0]] * 80
    unknown = evidence(table, rows, asked, without_own=True)
    found = calibrate([Kind(evidence(table, rows, asked), unknown)])
    assert found.thresholds == SAFE
    assert "single product" in found.fallback


def goods(kind: str, known_at: float, unknown_at: float, spread: float) -> Kind:
    """Return 400 known and unknown queries of 20 products that lie about so far, by a fifth."""
    random = np.random.default_rng(0)

    def seen(middle: float, right: bool) -> Evidence:
        first = middle * random.uniform(0.8, 1.2, 400)
        near = np.stack([first, *(first + gap for gap in (0.3, 0.32, 0.34, 0.36))], axis=1)
        told = (near[:, 1] - first) / first
        spreads = spread * random.uniform(0.9, 1.1, 400)
        stage = Stage(*(a.astype(np.float32) for a in (near, told, spreads)), np.full(400, right))
        names = np.array([f"{kind}{i % 20}" for i in range(400)])
        return Evidence(stage, stage, names, np.arange(400))

    return Kind(seen(known_at, right=True), seen(unknown_at, right=False))


def test_goods_that_vary_little_do_not_keep_those_that_vary_much_from_being_accepted() -> None:
    fruit, tins = goods("fruit", 0.55, 0.9, 0.4), goods("tin", 0.22, 0.45, 0.2)
    found = calibrate([fruit, tins])
    assert found.yardstick.spread > 0
    assert found.immediate > 0.95
    assert found.unknown_accepted <= 0.02
    for kind in (fruit, tins):
        told = kind.unknown.first.strangeness(found.yardstick)
        assert np.mean(told < found.thresholds.tl) <= 0.02


def test_a_product_left_out_is_unknown() -> None:
    table = a_table(5)
    seen = evidence(table, table.centroids, table.skus, without_own=True)
    assert not seen.first.right.any()
    assert (seen.first.near[:, 0] > 0.05).all()
    assert len(joined([seen, seen])) == 10


def test_auroc_counts_pairs() -> None:
    assert auroc(np.array([0.1, 0.2]), np.array([0.3, 0.4])) == 1.0
    assert auroc(np.array([0.3]), np.array([0.1])) == 0.0
    assert auroc(np.array([0.2]), np.array([0.2])) == 0.5


def test_whitening_takes_away_what_varies_within_products() -> None:
    random = np.random.default_rng(0)
    middles = random.normal(0, 1, (150, 8))
    rows = np.repeat(middles, 4, axis=0) + random.normal(0, 0.05, (600, 8))
    rows[:, 0] += random.normal(0, 8, 600)  # light, say: large, and says nothing
    names = np.repeat([f"p{i}" for i in range(150)], 4)
    learnt = fit_projection(
        [(Labelled(rows[:300].astype(np.float32), names[:300]), 1.0)],
        shrinkage=0.01,
        dim=6,
    )

    def right(embed: object) -> float:
        unseen = embed(rows[300:].astype(np.float32))  # type: ignore[operator]
        similar = unseen @ unseen.T
        np.fill_diagonal(similar, -2)
        return float(np.mean(names[300:][similar.argmax(axis=1)] == names[300:]))

    assert right(learnt) > 0.95
    assert right(normalised) < 0.8
