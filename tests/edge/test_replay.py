"""`shelfgate replay` as a script sees it: events, carts, and one line for what cannot be read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import main
from edge.detect import SHIPPED

ROOT = Path(__file__).parents[2]
BOTTLES = ((55, 120), (285, 345), (508, 570))


def run(*arguments: object) -> Result:
    """Call the command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def clip(shared_data: Path) -> Path:
    """The real clip of a hand that takes bottles and brings them back."""
    return shared_data / "video" / "bottle-detection.mp4"


@pytest.fixture(scope="session")
def bundle(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with the bottle enrolled from the first frame."""
    folder = tmp_path_factory.mktemp("bottle")
    pictures = folder / "pictures" / "bottle"
    pictures.mkdir(parents=True)
    _, first = cv2.VideoCapture(str(clip)).read()
    for index, (left, right) in enumerate(BOTTLES):
        cv2.imwrite(str(pictures / f"{index}.jpg"), first[105:315, left:right])
    catalogue = folder / "catalog.csv"
    catalogue.write_text("sku,name,category,price_minor,currency\nbottle,Water,Water,120,EUR\n")
    out = folder / "bundle"
    done = run(
        "models", "enrol", "--catalogue", catalogue, "--pictures", folder / "pictures",
        "--out", out, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return out


def charged(events: list[dict[str, Any]]) -> int:
    """Count what a cart would hold."""
    return sum({"pick": 1, "return": -1}[event["kind"]] for event in events if event["sku"])


def test_bottles_are_recognised_and_the_cart_ends_empty(
    clip: Path, bundle: Path, tmp_path: Path
) -> None:
    done = run("replay", clip, "--bundle", bundle, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").open()]
    assert [event["sku"] for event in events] == ["bottle"] * 8
    assert charged(events[:4]) == 2
    assert json.loads((tmp_path / "out" / "carts.json").read_text())[0]["lines"] == []
    for event in events:
        shown = {Path(name).name for name in event["evidence"]}
        assert {"crop-0.jpg", "before.jpg", "after.jpg"} <= shown
        assert all((tmp_path / "out" / name).is_file() for name in event["evidence"])


def test_the_same_clip_gives_the_same_events(tmp_path: Path) -> None:
    path = drawn(tmp_path / "drawn.avi")
    first, second = (json.loads(run("replay", path, "--json").stdout)["events"] for _ in range(2))
    assert first == second
    assert [event["kind"] for event in first] == ["pick", "return"]


def test_a_detector_of_ones_own_is_found_beside_the_configuration(tmp_path: Path) -> None:
    path, config = drawn(tmp_path / "drawn.avi"), tmp_path / "edge.toml"
    config.write_text('[detector]\npath = "ours"\n')
    missing = run("replay", path, "--config", config)
    assert (missing.exit_code, str(tmp_path / "ours") in missing.stderr) == (2, True)
    shutil.copytree(SHIPPED / "yolox_nano", tmp_path / "ours")
    done = run("replay", path, "--config", config, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["report"]["stage_frames"]["detect"] > 0


WITHOUT_OPENVINO = """
import sys
sys.modules["openvino"] = None
from edge.cli import main
main()
"""


def test_a_box_without_openvino_runs_all_of_it_on_the_other_runtime(tmp_path: Path) -> None:
    path = drawn(tmp_path / "drawn.avi")
    config = tmp_path / "edge.toml"
    both = '[gate]\nruntime = "onnxruntime"\n[detector]\nruntime = "onnxruntime"\n'
    config.write_text(both)
    command = [sys.executable, "-c", WITHOUT_OPENVINO, "replay", str(path)]

    there = subprocess.run(
        [*command, "--config", str(config), "--json"], capture_output=True, text=True, cwd=ROOT
    )
    assert there.returncode == 0, there.stderr
    result = json.loads(there.stdout)
    assert [event["kind"] for event in result["events"]] == ["pick", "return"]
    assert result["report"]["stage_frames"]["detect"] > 0

    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert refused.returncode == 2
    assert "onnxruntime" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_one_line_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    done = run("replay", path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_zone_outside_the_frame_is_refused(tmp_path: Path) -> None:
    path = drawn(tmp_path / "drawn.avi")
    zones = tmp_path / "zones.json"
    corners = [[900, 10], [990, 10], [990, 90]]
    zones.write_text(json.dumps({"zones": [{"id": "far", "polygon": corners}]}))
    done = run("replay", path, "--zones", zones, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "far" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("camera", "source"), [("drawn", "rtsp://127.0.0.1/x"), ("left", "drawn.avi")]
)
def test_of_several_cameras_the_one_that_the_clip_belongs_to_is_replayed(
    tmp_path: Path, camera: str, source: str
) -> None:
    path = drawn(tmp_path / "drawn.avi")
    config = tmp_path / "edge.toml"
    config.write_text(
        '[[camera]]\nid = "other"\nsource = "0"\n'
        f'[[camera]]\nid = "{camera}"\nsource = "{source}"\n'
        '[[camera.zones]]\nid = "far"\npolygon = [[900, 10], [990, 10], [990, 90]]\n'
    )
    done = run("replay", path, "--config", config)
    assert done.exit_code == 2
    assert "zone 'far' lies outside the frame" in done.stderr


def test_a_disk_without_room_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    path = drawn(tmp_path / "drawn.avi")
    config = tmp_path / "edge.toml"
    config.write_text("[ledger]\nmin_free_mb = 1000000000\n")
    done = run("replay", path, "--config", config, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "MB free" in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["drawn.avi", "edge.toml"]


def test_a_bundle_with_a_corrupt_file_is_refused(tmp_path: Path, bundle: Path) -> None:
    copy = tmp_path / "bundle"
    for path in sorted(bundle.rglob("*")):
        if path.is_file():
            there = copy / path.relative_to(bundle)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())
    table = next(path for path in sorted((copy / "tables").rglob("*")) if path.is_file())
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    done = run("replay", drawn(tmp_path / "drawn.avi"), "--bundle", copy)
    assert done.exit_code == 2
    assert table.name in done.stderr


def drawn(path: Path) -> Path:
    """Write a clip in which a red box leaves a grey shelf and comes back."""
    bare = np.full((180, 320, 3), 120, np.uint8)
    full = bare.copy()
    cv2.rectangle(full, (60, 40), (100, 140), (40, 60, 200), -1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (320, 180))
    for image in [full] * 30 + [bare] * 40 + [full] * 40:
        writer.write(image)
    writer.release()
    return path
