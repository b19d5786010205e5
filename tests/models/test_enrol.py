"""Enrolment: the same pictures give the same looks, odd ones are left out, look-alikes are said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
import pytest

from models.augment import HARSH, MILD, changed
from models.enrol import ANCHORS, covering, enrol, look_alike, looks_of, without_outliers
from models.table import SAFE, Looks, build_table, normalised
from tests.models.a_table import directions


class ByColour:
    """Embeds a crop by a histogram of its colours."""

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        rows = [
            cv2.calcHist([crop], [0, 1, 2], None, [4] * 3, [0, 256] * 3).ravel() for crop in crops
        ]
        return normalised(np.array(rows, np.float32) + 1e-3)

    def embed_many(self, crops: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for crop in crops:
            yield self.embed([crop])[0]


def picture(colour: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-10, 10, (60, 40, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


EMPTY = build_table({}, 64, SAFE)
RED, BLUE = (30, 30, 220), (220, 30, 30)


def test_one_picture_is_enough_and_the_same_each_time() -> None:
    first = enrol("red", [picture(RED)], ByColour(), EMPTY)
    again = enrol("red", [picture(RED)], ByColour(), EMPTY)
    np.testing.assert_array_equal(first.looks.centroid, again.looks.centroid)
    np.testing.assert_array_equal(first.looks.anchors, again.looks.anchors)
    assert 1 < len(first.looks.anchors) <= ANCHORS


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="red: no pictures"):
        enrol("red", [], ByColour(), EMPTY)


def test_a_picture_of_something_else_is_left_out() -> None:
    pictures = [picture(RED, seed) for seed in range(6)] + [picture(BLUE)]
    made = enrol("red", pictures, ByColour(), EMPTY)
    assert made.outliers == (6,)


def test_with_few_pictures_none_is_the_odd_one() -> None:
    assert without_outliers(directions(3)) == ([0, 1, 2], ())


def test_a_product_that_looks_like_a_known_one_is_said() -> None:
    table = EMPTY.with_products({"red": enrol("red", [picture(RED)], ByColour(), EMPTY).looks})
    twin = enrol("twin", [picture(RED, 1)], ByColour(), table)
    assert twin.confused_with == "red"
    assert enrol("blue", [picture(BLUE)], ByColour(), table).confused_with is None


def test_a_product_enrolled_again_is_not_its_own_look_alike() -> None:
    table = EMPTY.with_products({"red": enrol("red", [picture(RED)], ByColour(), EMPTY).looks})
    assert enrol("red", [picture(RED, 1)], ByColour(), table).confused_with is None


def test_anchors_cover_the_looks() -> None:
    clusters = directions(4, seed=3)
    rows = normalised(np.repeat(clusters, 20, axis=0) + 0.01 * directions(80, seed=4))
    chosen = covering(rows, 4)
    assert ((chosen @ clusters.T).max(axis=0) > 0.99).all()


@pytest.mark.parametrize("harshness", [MILD, HARSH])
@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (224, 224), (205, 63)])
def test_changed_pictures_stay_pictures(shape: tuple[int, int], harshness: object) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        view = changed(np.full((*shape, 3), 128, np.uint8), harshness, random)  # type: ignore[arg-type]
        assert view.ndim == 3
        assert view.shape[2] == 3
        assert 0 not in view.shape
        assert view.dtype == np.uint8


def test_an_odd_picture_of_a_product_of_many_looks_stays() -> None:
    middle = directions(1, 32, seed=1)[0]
    wide = normalised(middle + 0.9 * directions(12, 32, seed=2) * np.linspace(0.2, 1, 12)[:, None])
    assert without_outliers(wide.astype(np.float32))[1] == ()


def test_a_product_whose_pictures_lie_among_anothers_is_its_look_alike() -> None:
    other, own = directions(2, 32, seed=3)
    table = build_table(
        {"other": Looks(other, other[None]), "far": Looks(own, own[None])}, 32, SAFE
    )
    noise = np.random.default_rng(0).normal(0, 0.1, (8, 32))
    among = normalised((other + noise).astype(np.float32))
    assert look_alike(looks_of(among), among, table)[0] == "other"
    apart = normalised((directions(1, 32, seed=9)[0] + noise).astype(np.float32))
    assert look_alike(looks_of(apart), apart, table)[0] is None
