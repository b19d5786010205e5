"""The gate: what is near is accepted, what is far rejected, and nobody is charged on a guess."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.gate import NEAREST, Gate, Verdict
from models.allowance import allowance
from models.search import greatest
from models.table import GroupTable, Looks, TableError, Thresholds, build_table, normalised
from models.yardstick import lead
from tests.models.a_table import LIMITS, a_table, directions

SEEDS = st.integers(0, 2**32 - 1)


def between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return a unit vector on the way from first to second."""
    return normalised(((1 - share) * first + share * second)[None].astype(np.float32))[0]


def test_a_product_itself_is_accepted_at_once() -> None:
    table = a_table(thresholds=LIMITS)
    decision = Gate(table, "all").decide(table.centroids[3])
    assert (decision.verdict, decision.sku, decision.group) == (Verdict.ACCEPT, "p3", "all")
    assert decision.immediate
    assert decision.distance == pytest.approx(0.0, abs=1e-5)
    assert decision.nearest[0].sku == "p3"


def test_what_is_far_from_everything_is_rejected() -> None:
    table = a_table(thresholds=LIMITS)
    decision = Gate(table).decide(normalised(-table.centroids.mean(axis=0, keepdims=True))[0])
    assert (decision.verdict, decision.sku) == (Verdict.REJECT, None)
    assert decision.distance > LIMITS.th


def test_between_two_products_nobody_is_charged() -> None:
    table = a_table(2, thresholds=LIMITS)
    middle = between(table.centroids[0], table.centroids[1], 0.5)
    close = table.with_thresholds(
        Thresholds(tl=1.0, th=1.5, margin=0.5, anchor_accept=1.0, anchor_margin=0.5)
    )
    assert Gate(close).decide(middle).verdict is Verdict.REVIEW


def test_what_may_be_a_product_that_is_hardly_known_is_not_charged_for_another() -> None:
    eye = np.eye(4, dtype=np.float32)
    limits = Thresholds(tl=0.4, th=1.9, margin=0.8, anchor_accept=0.4, anchor_margin=0.8)
    seen = {"known": Looks(eye[0], eye[:1]), "new": Looks(eye[1], eye[1:2])}
    middle = between(eye[0], eye[1], 0.42)
    well_known = build_table(seen, 4, limits)
    assert Gate(well_known).decide(middle).sku == "known"
    lacking = allowance(1, 0.1)
    new = replace(seen["new"], handicap=-lacking)
    decision = Gate(build_table({**seen, "new": new}, 4, limits)).decide(middle)
    # It leads by enough as things look, and would not if all that is lacking were made up for.
    assert lead([candidate.distance for candidate in decision.nearest]) > limits.margin
    assert (decision.nearest[0].sku, decision.verdict) == ("known", Verdict.REVIEW)
    # What is hardly known itself is charged without a doubt about itself.
    other = between(eye[1], eye[0], 0.42)
    assert (
        Gate(build_table({"known": seen["known"], "new": new}, 4, limits)).decide(other).sku
        == "new"
    )


@given(
    distances=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=5).map(sorted),
    doubts=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
)
def test_a_doubt_never_makes_a_lead_greater(distances: list[float], doubts: list[float]) -> None:
    assert 0.0 <= lead(distances, doubts[: len(distances)]) <= lead(distances)


def test_the_anchors_settle_what_the_centroids_leave_open() -> None:
    eye = np.eye(4, dtype=np.float32)
    seen = between(eye[0], eye[1], 0.35)
    table = build_table(
        {"turned": Looks(eye[0], seen[None]), "other": Looks(eye[2], eye[2:3])},
        4,
        Thresholds(tl=0.05, th=0.5, margin=0.5, anchor_accept=0.2, anchor_margin=0.5),
    )
    decision = Gate(table).decide(seen)
    assert (decision.verdict, decision.sku) == (Verdict.REFINE, "turned")
    assert not decision.immediate


def test_an_empty_table_knows_nothing() -> None:
    decision = Gate(build_table({}, 8, LIMITS)).decide(directions(1, 8)[0])
    assert (decision.verdict, decision.distance, decision.nearest) == (Verdict.REJECT, 2.0, ())


def test_a_product_alone_in_a_table_does_not_take_everything() -> None:
    eye = np.eye(4, dtype=np.float32)
    table = build_table({"only": Looks(eye[0], eye[:1])}, 4, LIMITS)
    gate = Gate(table)
    assert gate.decide(between(eye[0], eye[1], 0.2)).sku == "only"
    assert gate.decide(eye[1]).verdict is Verdict.REJECT


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    table = a_table(thresholds=LIMITS)
    embedding = table.centroids[0].copy()
    embedding[2] = bad
    with pytest.raises(TableError, match="finite"):
        Gate(table).decide(embedding)


def test_an_embedding_of_another_model_is_refused() -> None:
    with pytest.raises(TableError, match="16 dimensions"):
        Gate(a_table()).decide(directions(1, 8)[0])


@given(seed=SEEDS, products=st.integers(0, 12), spread=st.floats(0.0, 2.0))
def test_a_decision_is_whole(seed: int, products: int, spread: float) -> None:
    table = a_table(products, seed=seed % 1000, thresholds=LIMITS)
    base = table.centroids[0] if products else np.eye(16, dtype=np.float32)[0]
    noise = np.random.default_rng(seed).normal(0, spread / 4, 16).astype(np.float32)
    embedding = normalised((base + noise)[None])[0]
    decision = Gate(table).decide(embedding)
    assert (decision.sku is not None) == (decision.verdict in (Verdict.ACCEPT, Verdict.REFINE))
    distances = [candidate.distance for candidate in decision.nearest]
    assert distances == sorted(distances)
    assert all(0.0 <= distance <= 2.0 for distance in distances)
    assert len(distances) == min(products, NEAREST)
    if decision.sku is not None:
        assert decision.sku == decision.nearest[0].sku
        assert decision.distance < max(LIMITS.tl, LIMITS.anchor_accept)
    if decision.verdict is Verdict.ACCEPT:
        assert decision.distance < LIMITS.tl


@given(seed=SEEDS, share=st.floats(0.0, 1.0))
def test_stricter_thresholds_never_accept_more(seed: int, share: float) -> None:
    table = a_table(6, seed=seed % 1000, thresholds=LIMITS)
    embedding = between(table.centroids[0], table.centroids[1], share)
    strict = Thresholds(tl=0.1, th=0.5, margin=2.0, anchor_accept=0.1, anchor_margin=2.0)
    if Gate(table.with_thresholds(strict)).decide(embedding).sku is not None:
        assert Gate(table).decide(embedding).sku is not None


@given(seed=SEEDS)
def test_the_order_of_products_does_not_matter(seed: int) -> None:
    table = a_table(8, seed=seed % 1000, thresholds=LIMITS)
    order = np.random.default_rng(seed).permutation(8)
    shuffled = build_table(
        {table.skus[i]: Looks(table.centroids[i], table.anchors_of(int(i))) for i in order},
        16,
        LIMITS,
    )
    embedding = between(table.centroids[0], directions(1, seed=seed)[0], 0.4)
    one, other = Gate(table).decide(embedding), Gate(shuffled).decide(embedding)
    assert (one.verdict, one.sku) == (other.verdict, other.sku)
    assert one.distance == pytest.approx(other.distance, abs=1e-6)


@given(
    similarities=arrays.arrays(
        np.float32, st.integers(0, 900), elements=st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])
    ),
    count=st.integers(1, 7),
)
def test_the_greatest_are_those_a_full_sort_gives(similarities: np.ndarray, count: int) -> None:
    expected = np.argsort(-similarities, kind="stable")[:count]
    values = similarities[expected]
    rows, found = greatest(similarities, count)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(found, values)


def test_many_decisions_are_those_of_one_at_a_time() -> None:
    table = a_table(300, thresholds=LIMITS)
    asked = directions(20, seed=5)
    gate = Gate(table)
    assert gate.decide_many(asked) == [gate.decide(row) for row in asked]


def test_each_of_ten_thousand_products_is_told_from_all_others() -> None:
    rows = directions(10_000, 256)
    skus = tuple(map(str, range(10_000)))
    gate = Gate(GroupTable(skus, rows, rows, np.arange(10_001), LIMITS))
    asked = range(0, 10_000, 50)
    assert [gate.decide(rows[row]).sku for row in asked] == [str(row) for row in asked]
