"""The projection is the same however its features come, and few of them are held at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from models.whitening import Labelled, Streamed, fit_projection

LENGTH, DIM = 24, 10
SHRINKAGE = 0.2


def rows_of(products: int, each: int, seed: int) -> Labelled:
    random = np.random.default_rng(seed)
    middles = random.normal(5, 1, (products, LENGTH))
    counts = random.integers(1, each + 1, products)
    of = random.permutation(np.repeat(np.arange(products), counts))
    rows = middles[of] + random.normal(0, random.uniform(0.05, 0.6, LENGTH), (len(of), LENGTH))
    return Labelled(rows.astype(np.float32), np.array([f"p{number}" for number in of]))


def at_once(sets: list[tuple[Labelled, float]], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias as the formula has them, from all rows at once in double precision."""
    within, means = np.zeros((LENGTH, LENGTH)), []
    for labelled, weight in sets:
        names = np.unique(labelled.skus)
        blocks = [labelled.features[labelled.skus == name].astype(float) for name in names]
        means += [block.mean(axis=0) for block in blocks]
        own = [(b - b.mean(axis=0)).T @ (b - b.mean(axis=0)) / len(b) for b in blocks]
        within += weight * np.mean(own, axis=0)
    variance, directions = np.linalg.eigh(within)
    whitener = directions / np.sqrt(np.maximum(variance, 0) + SHRINKAGE * variance.mean())
    middle = np.mean(means, axis=0)
    spread = np.concatenate([labelled.features for labelled, _ in sets]) - middle
    _, axes = np.linalg.eigh(np.cov((spread @ whitener).T))
    weight_matrix = (whitener @ axes[:, ::-1][:, :dim]).T
    return weight_matrix, -weight_matrix @ middle


def batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_streamed_it_is_what_the_formula_has_for_all_rows_at_once(size: int) -> None:
    sets = [(rows_of(40, 9, 0), 1.0), (rows_of(25, 60, 1), 0.5)]
    streams = [
        (Streamed(batches(labelled.features, size), labelled.skus), weight)
        for labelled, weight in sets
    ]
    weight, bias = at_once(sets, DIM)
    for found in (
        fit_projection(sets, shrinkage=SHRINKAGE, dim=DIM),
        fit_projection(streams, shrinkage=SHRINKAGE, dim=DIM),
    ):
        # A direction may as well be turned round.
        turned = np.sign((found.weight * weight).sum(axis=1))
        np.testing.assert_allclose(found.weight * turned[:, None], weight, atol=2e-5, rtol=1e-4)
        np.testing.assert_allclose(found.bias * turned, bias, atol=2e-4, rtol=1e-4)


def test_features_far_from_zero_keep_what_varies_little() -> None:
    rows = rows_of(40, 9, 2)
    far = Labelled(rows.features + np.float32(1000), rows.skus)
    weight, _ = at_once([(far, 1.0)], DIM)
    found = fit_projection([(far, 1.0)], shrinkage=SHRINKAGE, dim=DIM)
    turned = np.sign((found.weight * weight).sum(axis=1))
    np.testing.assert_allclose(found.weight * turned[:, None], weight, atol=1e-4, rtol=1e-3)


def test_others_count_for_what_varies_and_move_no_middle() -> None:
    ours, drawn = rows_of(30, 9, 4), rows_of(30, 9, 5)
    aside = Labelled(drawn.features + np.float32(50), drawn.skus)
    alone = fit_projection([(ours, 1.0)], shrinkage=SHRINKAGE, dim=DIM)
    found = fit_projection([(ours, 1.0)], [(aside, 1.0)], shrinkage=SHRINKAGE, dim=DIM)
    names = np.unique(ours.skus)
    middle = np.mean([ours.features[ours.skus == n].mean(axis=0) for n in names], axis=0)
    np.testing.assert_allclose(found.weight @ middle + found.bias, 0, atol=1e-3)
    assert np.abs(found.weight @ found.weight.T - alone.weight @ alone.weight.T).max() > 1e-3
    far = fit_projection([(ours, 1.0), (aside, 1.0)], shrinkage=SHRINKAGE, dim=DIM)
    assert np.abs(far.weight @ middle + far.bias).max() > 1


@pytest.mark.parametrize("flatness", [0.0, 0.2, 0.5])
def test_what_products_differ_in_most_counts_for_less_the_flatter_it_is(flatness: float) -> None:
    rows = rows_of(60, 12, 6)

    def spread(flatness: float) -> np.ndarray:
        found = fit_projection([(rows, 1.0)], shrinkage=SHRINKAGE, dim=DIM, flatness=flatness)
        return np.cov((rows.features @ found.weight.T + found.bias).T)

    plain, flat = np.diag(spread(0.0)), spread(flatness)
    # The same directions in the same order, each shorter by the power of what it spreads.
    np.testing.assert_allclose(np.diag(flat), plain * (1 + plain) ** (-2 * flatness), rtol=1e-3)
    np.testing.assert_allclose(flat - np.diag(np.diag(flat)), 0, atol=1e-2)
    assert plain[0] / plain[-1] > 1.5


def test_strangers_are_told_better_where_what_was_learned_counts_for_less() -> None:
    random = np.random.default_rng(0)
    # Training pulled 20 products apart in 20 directions, in which its pictures hardly vary any
    # more, and new ones do. Strangers are like a product there, and differ in 40 other directions.
    learned = np.concatenate([12 * np.eye(20), np.zeros((20, 40))], axis=1)
    own = np.concatenate([np.zeros((20, 20)), random.normal(0, 1, (20, 40))], axis=1)
    rows = np.repeat(learned + own, 6, axis=0) + random.normal(0, 0.4, (120, 60))
    known = Labelled(rows.astype(np.float32), np.repeat([f"p{i}" for i in range(20)], 6))
    varies = np.concatenate([np.full(20, 3.0), np.full(40, 0.4)])
    asked = learned + own + random.normal(0, 1, (20, 60)) * varies
    strangers = learned + np.roll(own, 1, axis=0) + random.normal(0, 1, (20, 60)) * varies

    def told(flatness: float) -> float:
        found = fit_projection([(known, 1.0)], shrinkage=0.05, dim=60, flatness=flatness)
        centroids = found((learned + own).astype(np.float32))
        near, far = (
            1.0 - (found(seen.astype(np.float32)) @ centroids.T).max(axis=1)
            for seen in (asked, strangers)
        )
        return float((near[:, None] < far).mean())

    assert told(0.2) > told(0.0) + 0.05


def test_rows_that_are_not_as_many_as_their_products_are_refused() -> None:
    rows = rows_of(5, 4, 3)
    for features in (rows.features[:-1], rows.features[:0]):
        with pytest.raises(ValueError, match=f"{len(features)} rows"):
            fit_projection([(Streamed([features], rows.skus), 1.0)], shrinkage=0.1, dim=4)


def most_memory_for(pictures: int) -> int:
    """Return bytes held at most while a projection is fitted to pictures of ten products."""
    random = np.random.default_rng(0)
    skus = np.repeat([f"p{number}" for number in range(10)], pictures // 10)
    stream = (random.random((32, 64), np.float32) for _ in range(pictures // 32))
    tracemalloc.start()
    try:
        fit_projection([(Streamed(stream, skus), 1.0)], shrinkage=0.1, dim=16)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_features() -> None:
    few, many = most_memory_for(3_200), most_memory_for(32_000)
    # Of a picture more, its label is held: not its 64 features.
    assert (many - few) / 28_800 < 64 * 4 / 2
