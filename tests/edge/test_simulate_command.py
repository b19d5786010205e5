"""`shelfgate simulate` as a person calls it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import main

QUICK = ("--seed", "3", "--minutes", "0.4", "--shoppers", "1", "--skus", "8", "--unknown", "1",
         "--size", "320x180", "--fps", "10")  # fmt: skip


def simulate(*options: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *options])


def test_everything_promised_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "store"
    result = simulate("--out", str(out), *QUICK, "--cameras", "2", "--angle", "both", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["frames"], facts["cameras"]) == (240, ["cam-1", "cam-2"])
    for camera in facts["cameras"]:
        clip = cv2.VideoCapture(str(out / f"{camera}.mp4"))
        assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 240
    truth = [json.loads(line) for line in (out / "truth.jsonl").read_text().splitlines()]
    assert len(truth) == facts["events"] > 0
    zones = json.loads((out / "zones.json").read_text())["cameras"]
    ids = {camera: {zone["id"] for zone in listed} for camera, listed in zones.items()}
    assert all(line["zone"] in ids[line["camera"]] for line in truth)
    for listed in zones.values():
        for zone in listed:
            assert all(0 <= x < 320 and 0 <= y < 180 for x, y in zone["polygon"])
    with (out / "catalog.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 8
    assert all(int(row["price_minor"]) > 0 and row["currency"] == "EUR" for row in rows)
    folders = {folder.name for folder in (out / "products").iterdir()}
    assert folders == {row["sku"] for row in rows}
    assert all(len(list((out / "products" / sku).glob("*.jpg"))) == 8 for sku in folders)
    visits = [json.loads(line) for line in (out / "sessions.jsonl").read_text().splitlines()]
    assert {line["session"] for line in truth} <= {visit["session"] for visit in visits}


@pytest.mark.parametrize(
    "options",
    [
        ("--depth", "7"),
        ("--depth", "many"),
        ("--size", "big"),
        ("--size", "321x181"),
        ("--angle", "both"),
        ("--lighting", "odd"),
        ("--hands", "3"),
        ("--products", "nowhere"),
        ("--minutes", "0"),
    ],
)
def test_a_bad_option_says_so_and_leaves_nothing(tmp_path: Path, options: tuple[str, str]) -> None:
    result = simulate("--out", str(tmp_path / "store"), *options)
    assert result.exit_code == 2
    assert len([line for line in result.output.splitlines() if line.startswith("Error")]) == 1
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    result = simulate("--out", str(tmp_path), *QUICK)
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_product_picture_that_is_none_is_named(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(4):
        (pictures / f"sku-{number}.jpg").write_bytes(b"no picture")
    result = simulate("--out", str(tmp_path / "store"), *QUICK, "--products", str(pictures))
    assert result.exit_code == 2
    assert "sku-" in result.output
    assert not (tmp_path / "store").exists()


def test_a_shops_own_pictures_stand_on_the_shelf(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for number, colour in enumerate([(0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255)]):
        shot = np.full((200, 200, 3), 255, dtype=np.uint8)
        cv2.rectangle(shot, (60, 20), (140, 180), colour, -1)
        (pictures / f"sku-{number}").mkdir(parents=True)
        cv2.imwrite(str(pictures / f"sku-{number}" / "1.png"), shot)
    out = tmp_path / "store"
    result = simulate("--out", str(out), *QUICK, "--products", str(pictures))
    assert result.exit_code == 0, result.output
    known = {folder.name for folder in (out / "products").iterdir()}
    assert len(known) == 3
    assert known < {f"sku-{number}" for number in range(4)}
    _, frame = cv2.VideoCapture(str(out / "cam-1.mp4")).read()
    vivid = (frame.max(axis=2).astype(int) - frame.min(axis=2)) > 120
    assert vivid.mean() > 0.02
