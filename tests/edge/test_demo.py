"""`shelfgate demo`: a store on this machine, its receipts at its end, and nothing left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from tests.edge.bottles import ROOT, SHELFGATE


def demo(temp: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SHELFGATE, "demo", "--headless", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temp)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "quiet.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (320, 180))
    for _ in range(50):
        writer.write(np.full((180, 320, 3), 150, np.uint8))
    writer.release()
    return path


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    (tmp_path / "temp").mkdir()
    return tmp_path / "temp"


def test_a_clip_is_played_to_its_end_and_its_receipt_comes_from_the_hub(
    clip: Path, temp: Path
) -> None:
    process = demo(temp, "--clip", str(clip), "--json")
    out, said = process.communicate(timeout=60)

    assert process.returncode == 0, said
    result = json.loads(out)
    assert result["frames"] == 50
    assert result["synced"] is True
    assert [one["session"] for one in result["receipts"]] == ["shopper-1"]
    assert list(temp.iterdir()) == []


@pytest.mark.slow
def test_the_drawn_store_opens_and_closes_its_sessions(temp: Path) -> None:
    process = demo(temp, "--seconds", "20")
    out, said = process.communicate(timeout=180)

    assert process.returncode == 0, said
    assert "1 receipt at the hub" in out
    assert "The page is at http://127.0.0.1:" in said
    assert list(temp.iterdir()) == []


def test_ctrl_c_stops_everything_and_leaves_nothing(clip: Path, temp: Path) -> None:
    long = clip.with_name("long.mp4")
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter_fourcc(*"mp4v"), 5, (320, 180))
    for _ in range(300):
        writer.write(np.full((180, 320, 3), 150, np.uint8))
    writer.release()
    process = demo(temp, "--clip", str(long))
    assert process.stderr is not None
    page = ""
    for line in process.stderr:
        if found := re.search(r"http://\S+", line):
            page = found.group()
            break
    assert httpx.get(page + "api/state").json()["sync"]["link"] in {"up", "down"}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 130
    assert list(temp.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(page)


def test_what_is_no_clip_is_one_line_and_exit_code_2(temp: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("not a video")

    process = demo(temp, "--clip", str(tmp_path / "letter.mp4"))
    said = process.communicate(timeout=60)[1]

    assert process.returncode == 2
    assert "no video" in said
    assert "Traceback" not in said
    assert list(temp.iterdir()) == []
