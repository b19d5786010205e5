"""Crops of any size become embeddings; several groups make one decision."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.embed import Embedder, Recogniser, open_embedder
from edge.gate import Candidate, Decision, Verdict
from edge.panel import combined
from models.bundle import DEFAULT_BUNDLE, load_bundle
from models.crops import PADDING, fitted
from models.selftest import drawn


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return open_embedder(load_bundle(DEFAULT_BUNDLE).groups[0].model, threads=1)


def decision(verdict: Verdict, sku: str | None, distance: float, group: str) -> Decision:
    return Decision(verdict, sku, distance, (Candidate(sku or "x", distance),), group)


def test_crops_of_any_shape_become_unit_embeddings(embedder: Embedder) -> None:
    shapes = [(200, 60), (1, 1), (3, 500), (720, 1280)]
    crops = [np.full((h, w, 3), 90, np.uint8) for h, w in shapes]
    rows = embedder.embed(crops)
    assert rows.shape == (4, embedder.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-4)


def test_no_crops_give_no_embeddings(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dim)


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_refused(embedder: Embedder, crop: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a crop is"):
        embedder.embed([crop])


def test_a_stream_gives_what_single_crops_give(embedder: Embedder) -> None:
    crops = [drawn(number) for number in range(5)]
    many = np.stack(list(embedder.embed_many(crops)))
    np.testing.assert_allclose(many, embedder.embed(crops), atol=1e-4)


def test_several_crops_are_averaged(embedder: Embedder) -> None:
    crops = [drawn(0), drawn(1)]
    mean = embedder.embed(crops).mean(axis=0)
    np.testing.assert_allclose(embedder.embed_item(crops), mean / np.linalg.norm(mean), atol=1e-5)


def test_a_crop_that_is_part_of_a_frame_is_taken_as_it_is(embedder: Embedder) -> None:
    frame = cv2.resize(drawn(2), (300, 300))
    part = frame[20:200, 30:130]
    np.testing.assert_allclose(embedder.embed([part]), embedder.embed([part.copy()]), atol=1e-5)


def test_letterbox_keeps_the_shape_and_pads_with_grey() -> None:
    crop = np.full((200, 50, 3), 255, np.uint8)
    out = fitted(crop, 100, "letterbox")
    assert out.shape == (100, 100, 3)
    assert (out[:, 38:62] == 255).all()
    assert (out[:, :37] == PADDING).all()
    assert (fitted(crop, 100, "stretch") == 255).all()


def test_unknown_groups_of_a_planogram_are_passed_over() -> None:
    recogniser = Recogniser(load_bundle(DEFAULT_BUNDLE), threads=1)
    crop = drawn(3)
    assert recogniser.decide([crop], groups=["no-such"]) == recogniser.decide([crop])
    assert recogniser.decide([crop], groups=["all"]) == recogniser.decide([crop])
    assert recogniser.groups == ("all",)


def test_one_group_that_knows_settles_it() -> None:
    known = decision(Verdict.REFINE, "a", 0.3, "one")
    other = decision(Verdict.REJECT, None, 0.7, "two")
    assert combined([other, known]) is known


def test_two_groups_that_both_know_go_to_review() -> None:
    both = [decision(Verdict.ACCEPT, "a", 0.2, "one"), decision(Verdict.ACCEPT, "b", 0.1, "two")]
    made = combined(both)
    assert (made.verdict, made.sku) == (Verdict.REVIEW, None)
    assert [candidate.sku for candidate in made.nearest] == ["b", "a"]
    assert made.group == "two"


def test_a_doubt_weighs_more_than_a_rejection() -> None:
    doubt = decision(Verdict.REVIEW, None, 0.5, "one")
    assert combined([decision(Verdict.REJECT, None, 0.4, "two"), doubt]) is doubt
