"""What left and what came, told from two pictures of a place alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.appearance import judge
from edge.crops import Place
from edge.events import Kind
from edge.fit import fitted

Picture = NDArray[np.uint8]
INNER = (40, 30, 100, 120)
LAID = 0.88 * 90
"""Height of what is laid over: the place without its foot."""


def package(seed: int) -> Picture:
    """A printed front, 60 x 90 pixels."""
    random = np.random.default_rng(seed)
    front = np.full((90, 60, 3), random.integers(90, 200, 3), np.uint8)
    for _ in range(14):
        x, y = random.integers(0, 50), random.integers(0, 80)
        colour = [int(value) for value in random.integers(0, 256, 3)]
        cv2.rectangle(front, (x, y), (x + int(random.integers(4, 20)), y + 6), colour, -1)
    return front


def standing(front: Picture, depth: int, rise: int | None = None) -> Picture:
    """A place with a package so many places behind the shelf's edge: smaller, higher, darker.

    rise: how many pixels higher its foot is there, if not 3 a place.
    """
    place = np.full((150, 140, 3), (96, 104, 110), np.uint8)
    size = 0.95**depth
    seen = cv2.resize(front, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    seen = (seen * 0.93**depth).astype(np.uint8)
    height, width = seen.shape[:2]
    bottom = 120 - (3 * depth if rise is None else rise)
    left = 70 - width // 2
    place[bottom - height : bottom, left : left + width] = seen
    return np.asarray(cv2.GaussianBlur(place, (0, 0), 0.7), np.uint8)


def verdict(before: Picture, after: Picture) -> Kind | None:
    apart = np.abs(before.astype(int) - after).max(axis=2)
    mask = np.where(apart > 8, 255, 0).astype(np.uint8)
    place = Place(before, after, mask, INNER, (40.0, 30.0, 100.0, 120.0))
    return judge(place, place)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_taking_the_front_one_uncovers_its_like_and_is_a_pick(seed: int, depth: int) -> None:
    near, far = standing(package(seed), depth), standing(package(seed), depth + 1)
    assert verdict(near, far) is Kind.PICK
    assert verdict(far, near) is Kind.RETURN


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("foot", [-2, 0, 2])
def test_at_the_height_of_the_camera_the_size_alone_tells(seed: int, foot: int) -> None:
    near, far = standing(package(seed), 0), standing(package(seed), 1, rise=foot)
    assert verdict(near, far) is Kind.PICK
    assert verdict(far, near) is Kind.RETURN


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("lamp", "lamp_after"), [(1.0, 0.6), (0.6, 1.0)])
def test_a_lamp_switched_meanwhile_turns_no_pick_round(
    seed: int, lamp: float, lamp_after: float
) -> None:
    near, far = standing(package(seed), 0), standing(package(seed), 1)
    box = (40.0, 30.0, 100.0, 120.0)
    for first, second, kind in ((near, far, Kind.PICK), (far, near, Kind.RETURN)):
        today = (first * lamp_after).astype(np.uint8)
        before, after = (first * lamp).astype(np.uint8), (second * lamp_after).astype(np.uint8)
        apart = np.abs(today.astype(int) - after).max(axis=2)
        mask = np.where(apart > 8, 255, 0).astype(np.uint8)
        small = Place(today, after, mask, INNER, box)
        assert judge(small, Place(before, after, mask, INNER, box)) is kind


@pytest.mark.parametrize("seed", range(8))
def test_a_shadow_over_an_item_is_neither(seed: int) -> None:
    lit = standing(package(seed), 0)
    over = np.zeros(lit.shape[:2], np.float32)
    over[10:, 20:120] = 0.3
    soft = cv2.GaussianBlur(over, (0, 0), 10.0)[..., None]
    shadow = (lit * (1.0 - soft)).astype(np.uint8)
    assert verdict(lit, shadow) is None
    assert verdict(shadow, lit) is None


@pytest.mark.parametrize("seed", range(8))
def test_the_only_one_leaves_or_comes(seed: int) -> None:
    bare = np.full((150, 140, 3), (96, 104, 110), np.uint8)
    full = standing(package(seed), 0)
    assert verdict(full, bare) is Kind.PICK
    assert verdict(bare, full) is Kind.RETURN


@pytest.mark.parametrize("seed", range(8))
def test_an_item_that_was_nudged_is_neither(seed: int) -> None:
    still = standing(package(seed), 1)
    nudged = np.asarray(np.roll(still, 2, axis=1), np.uint8)
    assert verdict(still, nudged) is None
    assert verdict(nudged, still) is None


def test_another_item_put_before_one_is_never_taken_for_a_pick() -> None:
    told = []
    for seed in range(12):
        behind, front = standing(package(seed), 1), standing(package(seed + 100), 0)
        told.append(verdict(behind, front))
        assert verdict(front, behind) is not Kind.RETURN
    assert Kind.PICK not in told
    assert told.count(Kind.RETURN) >= 9


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("depth", [1, 2])
def test_the_height_of_what_stands_behind_is_found(seed: int, depth: int) -> None:
    fit = fitted(standing(package(seed), 0), standing(package(seed), depth), INNER)
    assert fit.score > 0.9
    assert fit.growth == pytest.approx(depth * np.log(0.95), abs=0.015)
    assert fit.rise == pytest.approx(3 * depth / LAID, abs=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_what_stands_farther_back_is_found_as_high_as_a_camera_above_shows_it(seed: int) -> None:
    near, far = standing(package(seed), 0), standing(package(seed), 2, rise=36)
    fit = fitted(near, far, INNER)
    assert fit.rise == pytest.approx(36 / LAID, abs=0.02)
    assert verdict(near, far) is Kind.PICK
    assert verdict(far, near) is Kind.RETURN
