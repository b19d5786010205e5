"""The simulated store: the same for the same seed, and its truth agrees with its pixels."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.simulate.catalogue import products_for
from edge.simulate.enrolment import pictures_of
from edge.simulate.plan import Act
from edge.simulate.settings import Angle, Lighting, Occlusion, Settings, SimulationError
from edge.simulate.store import SimulatedStore

SMALL = Settings(
    seed=5, shoppers=1, minutes=1.0, skus=12, unknown=1, width=480, height=270,
    occlusion=Occlusion.NONE, noise=0.0, jitter_px=0.0,
)  # fmt: skip


def at(store: SimulatedStore, times: list[float]) -> list[dict[str, NDArray[np.uint8]]]:
    """Return the pictures of the first frames at or after these times, in order."""
    wanted = sorted(times)
    found: list[dict[str, NDArray[np.uint8]]] = []
    for time_s, pictures in store.frames():
        while len(found) < len(wanted) and time_s >= wanted[len(found)]:
            found.append(pictures)
        if len(found) == len(wanted):
            break
    return found


def test_the_same_seed_gives_the_same_pictures_and_truth() -> None:
    settings = replace(SMALL, noise=3.0, jitter_px=0.5, lighting=Lighting.CHANGING)
    first, second = SimulatedStore(settings), SimulatedStore(settings)
    assert first.truth() == second.truth()
    assert first.zones() == second.zones()
    for (t1, one), (t2, other) in islice(zip(first.frames(), second.frames(), strict=True), 90):
        assert t1 == t2
        assert np.array_equal(one["cam-1"], other["cam-1"])


def test_a_store_can_be_watched_twice() -> None:
    store = SimulatedStore(replace(SMALL, noise=3.0))
    first = [pictures["cam-1"] for _, pictures in islice(store.frames(), 20)]
    again = [pictures["cam-1"] for _, pictures in islice(store.frames(), 20)]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_another_seed_gives_another_store() -> None:
    other = SimulatedStore(replace(SMALL, seed=6))
    assert {p.sku for p in SimulatedStore(SMALL).products}.isdisjoint(p.sku for p in other.products)


def test_pixels_change_where_and_when_the_truth_says() -> None:
    store = SimulatedStore(replace(SMALL, minutes=1.5))
    reaches = {round(c.time_s, 3): c.reach for c in store.plan.changes if c.event}
    assert len(store.truth()) >= 4
    for line in store.truth():
        reach = reaches[line["time_s"]]
        before, after = at(store, [reach.start_s - 0.1, reach.end_s + 0.1])
        x1, y1, x2, y2 = line["box"]
        moved = cv2.absdiff(before["cam-1"], after["cam-1"]).max(axis=2)
        inside = moved[y1:y2, x1:x2]
        assert (inside > 6).mean() > 0.25, line
        moved[max(y1 - 12, 0) : y2 + 12, max(x1 - 16, 0) : x2 + 16] = 0
        assert (moved > 6).mean() < 0.002, "nothing else changes"


def test_what_is_put_back_is_no_event() -> None:
    store = SimulatedStore(replace(SMALL, minutes=4.0))
    quiet = [r for r in store.plan.reaches if r.act in (Act.LIFT, Act.TOUCH, Act.KNOCK)]
    assert quiet
    told = {(line["time_s"], line["kind"]) for line in store.truth()}
    assert not any((round(r.change_s, 3), str(r.act)) in told for r in quiet)


def test_hands_are_out_of_the_picture_before_and_after_each_reach() -> None:
    store = SimulatedStore(replace(SMALL, angle=Angle.BOTH, cameras=2))
    reach = store.plan.reaches[0]
    pictures = at(store, [0.0, reach.start_s + 0.07, reach.start_s + 0.9])
    for camera in store.cameras:
        assert np.array_equal(pictures[0][camera], pictures[1][camera])
        assert not np.array_equal(pictures[0][camera], pictures[2][camera])


def test_cameras_of_one_shelf_tell_the_same_events_from_their_own_angle() -> None:
    store = SimulatedStore(replace(SMALL, angle=Angle.BOTH, cameras=2))
    front = [line for line in store.truth() if line["camera"] == "cam-1"]
    above = [line for line in store.truth() if line["camera"] == "cam-2"]
    assert [line["time_s"] for line in front] == [line["time_s"] for line in above]
    assert {line["difficulty"]["angle"] for line in above} == {"above"}
    assert front[0]["box"] != above[0]["box"]


def test_cameras_with_shelves_of_their_own_share_the_catalogue_out() -> None:
    store = SimulatedStore(replace(SMALL, cameras=2, skus=20))
    shown = [{f.product.sku for f in shelf.facings} for shelf in store.shelves]
    assert shown[0].isdisjoint(shown[1])
    assert shown[0] | shown[1] == {product.sku for product in store.products}


def test_unknown_goods_are_in_no_catalogue_and_have_no_sku_in_the_truth() -> None:
    store = SimulatedStore(replace(SMALL, unknown=6, minutes=2.0))
    assert len(store.catalogue) == 12
    lines = [line for line in store.truth() if line["unknown"]]
    assert lines
    assert {line["sku"] for line in lines} == {None}


@pytest.mark.parametrize("seed", range(12))
def test_no_toy_looks_like_another_whoever_makes_it(seed: int) -> None:
    products = products_for(Settings(seed=seed, minutes=1, skus=60, cameras=2))
    toys = [one.design for one in products if one.category in ("ball", "bear", "duck", "robot")]
    assert len({(toy.shape, toy.band) for toy in toys}) == len(toys) > 0


def test_lookalikes_share_everything_but_the_flavour() -> None:
    with_families = SimulatedStore(replace(SMALL, skus=40)).products
    families = {p.family for p in with_families if p.family is not None}
    assert families
    for family in families:
        designs = [p.design for p in with_families if p.family == family]
        assert len({d.layout for d in designs}) == 1
        assert len({d.band for d in designs}) == len(designs) >= 2
    without = SimulatedStore(replace(SMALL, skus=40, lookalikes=False)).products
    assert all(product.family is None for product in without)


def test_the_next_of_a_facing_stands_further_back_and_darker() -> None:
    store = SimulatedStore(replace(SMALL, depth=(3, 4), width=960, height=540))
    view = store.view("cam-1")
    stacks = list(view.shelf.stacks)
    facing = next(f.number for f in view.shelf.facings if f.row == 1)
    front = view.still.seen(tuple(stacks), facing)
    shown = view.still.draw(tuple(stacks)).image
    stacks[facing] = stacks[facing][:-1]
    behind = view.still.seen(tuple(stacks), facing)
    shown_after = view.still.draw(tuple(stacks)).image
    assert front is not None
    assert behind is not None
    assert behind.box[3] - behind.box[1] < front.box[3] - front.box[1]
    one, other = (
        picture[seen.box[1] : seen.box[3], seen.box[0] : seen.box[2]].mean()
        for picture, seen in ((shown, front), (shown_after, behind))
    )
    assert other < one


@pytest.mark.parametrize("lighting", list(Lighting))
def test_every_light_leaves_a_picture(lighting: Lighting) -> None:
    store = SimulatedStore(replace(SMALL, lighting=lighting, minutes=0.3))
    brightness = [pictures["cam-1"].mean() for _, pictures in store.frames()]
    assert 8 < min(brightness) < max(brightness) < 200


def test_enrolment_pictures_show_the_product_large_and_are_not_all_alike() -> None:
    store = SimulatedStore(SMALL)
    pictures = pictures_of(store.catalogue[0], store.goods, 600.0, SMALL.seed)
    assert len(pictures) == 8
    assert len({name for name, _ in pictures}) == 8
    assert all(min(picture.shape[:2]) >= 24 for _, picture in pictures)


@limits(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), hands=st.integers(1, 2), shoppers=st.integers(1, 6),
    depth=st.sampled_from([(1, 1), (2, 6), (6, 6), (1, 6)]),
)  # fmt: skip
def test_goods_are_neither_made_nor_lost(
    seed: int, hands: int, shoppers: int, depth: tuple[int, int]
) -> None:
    settings = replace(SMALL, seed=seed, hands=hands, shoppers=shoppers, depth=depth, minutes=2.0)
    store = SimulatedStore(settings)
    held: dict[str, list[str]] = {}
    stacks = [list(shelf.stacks) for shelf in store.shelves]
    for change in store.plan.changes:
        assert stacks[change.shelf][change.facing] == change.before
        stacks[change.shelf][change.facing] = change.after
        basket = held.setdefault(change.reach.visit.session, [])
        if change.event and change.reach.act is Act.PICK:
            basket.append(change.reach.item.product.sku)
        elif change.event:
            basket.remove(change.reach.item.product.sku)
        for item in change.after:
            assert item.front >= 0.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"depth": (0, 3)}, "depth"),
        ({"depth": (4, 2)}, "depth"),
        ({"hands": 3}, "hands"),
        ({"angle": Angle.BOTH}, "even"),
        ({"skus": 500}, "fit"),
        ({"width": 10}, "width"),
    ],
)
def test_a_store_that_cannot_be_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SimulationError, match=complaint):
        replace(SMALL, **change)
