"""Thresholds keep what is wanted, and too few queries make safe ones."""

from __future__ import annotations

import numpy as np
import pytest

from edge.gate import Gate
from models.bounds import surely_within, upper_bound
from models.calibrate import Kind, Wanted, calibrate, evidence, joined
from models.evaluate import auroc
from models.table import SAFE, build_table, normalised
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


def test_too_few_queries_fall_back_to_safe_thresholds_and_say_so() -> None:
    table = a_table(5)
    few = evidence(table, table.centroids, table.skus)
    found = calibrate([Kind(few, few)])
    assert found.thresholds == SAFE
    assert "5 known" in found.fallback


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
