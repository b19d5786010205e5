"""The crops a box decides on before it trusts a bundle, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.embed import Embedder
from edge.gate import Gate
from edge.runtime import OpenVinoNetwork
from models.bundle import FACES, Group, Model
from models.selftest import CROPS, _turned, drawn, made
from models.table import Looks, Thresholds, build_table, normalised
from tests.cloud_sync.a_bundle import a_network

SIDE, DIM = 32, 16
LIMITS = Thresholds(tl=0.05, th=1.0, margin=0.0, anchor_accept=0.05, anchor_margin=0.0)


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    path = tmp_path / "small.xml"
    a_network(path, dim=DIM)
    return Embedder(OpenVinoNetwork(path, threads=1), side=SIDE, dim=DIM, fit="stretch")


def a_group(
    embedder: Embedder, shown: Sequence[NDArray[np.uint8]], limits: Thresholds, tolerance: float
) -> Group:
    model = Model("small", Path(), Path(), SIDE, DIM, "stretch", frozenset(), tolerance=tolerance)
    rows = embedder.embed(shown)
    looks = {f"p{n}": Looks(row, row[None]) for n, row in enumerate(rows)}
    return Group("all", model, build_table(looks, DIM, limits))


def jpeg(crop: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", crop)[1].tobytes()


def test_products_whose_pictures_a_bundle_carries_are_to_be_known_again(
    embedder: Embedder,
) -> None:
    shown = [drawn(100 + number) for number in range(3 * CROPS)]
    group = a_group(embedder, shown, LIMITS, 0.002)
    faces = {f"{FACES}/p{n}.jpg": jpeg(crop) for n, crop in enumerate(shown)}
    other = {f"{FACES}/of-another-group.jpg": jpeg(drawn(7))}
    entries, files = made(group, embedder, Gate(group.table), {**faces, **other})
    known = [entry for entry in entries if entry["crop"].startswith(FACES)]
    assert len(known) == CROPS
    assert all(entry["crop"] == f"{FACES}/{entry['sku']}.jpg" for entry in known)
    assert {entry["verdict"] for entry in known} == {"accept"}
    assert len(entries) - len(known) == len(files) == CROPS


def test_a_product_whose_picture_is_not_known_again_is_not_asked_about(embedder: Embedder) -> None:
    group = a_group(embedder, [drawn(100), drawn(101)], LIMITS, 0.002)
    files = {f"{FACES}/p0.jpg": jpeg(drawn(101)), f"{FACES}/p1.jpg": jpeg(drawn(101))}
    entries, _ = made(group, embedder, Gate(group.table), files)
    assert [e["crop"] for e in entries if e["sku"]] == [f"{FACES}/p1.jpg"]


def test_a_picture_that_cannot_be_read_is_passed_over(embedder: Embedder) -> None:
    group = a_group(embedder, [drawn(100)], LIMITS, 0.002)
    entries, _ = made(group, embedder, Gate(group.table), {f"{FACES}/p0.jpg": b"nothing"})
    assert not [entry for entry in entries if entry["crop"].startswith(FACES)]


def test_a_crop_another_box_may_decide_otherwise_is_not_asked_about(embedder: Embedder) -> None:
    shown = [drawn(100), drawn(101)]
    group = a_group(embedder, shown, LIMITS, 0.002)
    first = Gate(group.table).decide(embedder.embed([drawn(0)])[0])
    edge = replace(LIMITS, th=max(first.distance + 0.001, LIMITS.tl))
    on_the_edge = Group("all", group.model, group.table.with_thresholds(edge))
    entries, files = made(on_the_edge, embedder, Gate(on_the_edge.table))
    assert "selftest/0.png" not in files
    assert len(entries) == CROPS
    exact = Group("all", replace(group.model, tolerance=0.0), on_the_edge.table)
    assert "selftest/0.png" in made(exact, embedder, Gate(exact.table))[1]


@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.floats(-0.1, 0.1),
)
def test_an_embedding_is_turned_by_just_what_boxes_may_differ(seed: int, step: float) -> None:
    pair = normalised(np.random.default_rng(seed).normal(size=(2, DIM)).astype(np.float32))
    turned = _turned(pair[0], pair[1], step)
    before, after = (1.0 - float(one @ pair[1]) for one in (pair[0], turned))
    assert after == pytest.approx(min(max(before + step, 0.0), 2.0), abs=1e-5)
