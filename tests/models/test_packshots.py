"""Packshots: told from photographs, staged, and brought over a gap that was learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.enrol import enrol
from models.packshots import VIEWS, Rehearsal, is_packshot, learn_gap, staged
from models.table import SAFE, Gap, build_table, load_table, normalised
from tests.models.a_table import a_table, directions, looks
from tests.models.test_enrol import EMPTY, RED, ByColour, picture


def packshot(colour: tuple[int, int, int] = RED) -> np.ndarray:
    shot = np.full((200, 160, 3), 255, np.uint8)
    cv2.rectangle(shot, (40, 30), (120, 170), colour, -1)
    cv2.rectangle(shot, (60, 60), (100, 90), (250, 250, 250), -1)
    return shot


def test_a_product_on_white_is_a_packshot_and_a_crop_is_none() -> None:
    assert is_packshot(packshot())
    assert not is_packshot(picture(RED))


def test_staged_views_show_the_product_before_something_else() -> None:
    views = list(staged(packshot(), np.random.default_rng(0)))
    assert len(views) == VIEWS
    assert sum(is_packshot(view) for view in views) <= 2
    for view in views:
        red = (view[..., 2] > 120) & (view[..., 0] < 110) & (view[..., 1] < 110)
        assert red.mean() > 0.1


def test_what_is_white_inside_a_product_belongs_to_it() -> None:
    view = list(staged(packshot(), np.random.default_rng(0)))[2]
    assert (view.min(axis=2) > 170).any()


def test_a_packshot_with_nothing_on_it_is_still_staged() -> None:
    blank = np.full((50, 40, 3), 255, np.uint8)
    assert all(0 not in view.shape for view in staged(blank, np.random.default_rng(0)))


def test_the_gap_between_packshots_and_photographs_is_learned() -> None:
    random = np.random.default_rng(0)
    rows = directions(30, 32, seed=1)
    away = 3.0 * directions(1, 32, seed=2)[0]
    table = build_table({f"p{i}": looks(row, seed=i) for i, row in enumerate(rows)}, 32, SAFE)
    shots = normalised(rows + away)
    queries = np.repeat(rows, 10, axis=0) + random.normal(0, 0.08, (300, 32))
    queries = normalised(queries.astype(np.float32))
    asked = [f"p{i}" for i in range(30) for _ in range(10)]
    packshots = {f"p{i}": shots[i : i + 1] for i in range(30)}
    gap = learn_gap(Rehearsal(table, packshots, queries, asked))
    brought = normalised(shots + gap.shift)
    before, after = np.vecdot(shots, rows).mean(), np.vecdot(brought, rows).mean()
    assert after > before + 0.1
    assert 0.0 <= gap.bonus <= 0.2


def test_with_few_packshots_no_gap_is_learned() -> None:
    table = a_table(5)
    packshots = {sku: table.anchors_of(row) for row, sku in enumerate(table.skus)}
    gap = learn_gap(Rehearsal(table, packshots, table.centroids, table.skus))
    assert gap.bonus == 0.0
    assert not gap.shift.any()


def test_a_product_known_by_its_packshot_gets_the_bonus_until_photographs_come() -> None:
    gap = Gap(np.zeros(64, np.float32), 0.1)
    table = replace(EMPTY, gap=gap)
    made = enrol("red", [packshot()], ByColour(), table)
    assert made.from_packshots
    table = table.with_products({"red": made.looks})
    assert table.handicaps[0] == np.float32(-0.1)
    seen = enrol("red", [picture(RED), picture(RED, 1)], ByColour(), table)
    assert not seen.from_packshots
    assert table.with_products({"red": seen.looks}).handicaps[0] == 0.0


def test_a_gap_is_kept_on_disk(tmp_path: Path) -> None:

    table = replace(a_table(3), gap=Gap(directions(1)[0], 0.07))
    table.save(tmp_path)
    again = load_table(tmp_path).gap
    assert again is not None
    np.testing.assert_array_equal(again.shift, table.gap.shift)  # type: ignore[union-attr]
    assert again.bonus == np.float32(0.07)
