"""The bottle clip as a rehearsal: a bundle that knows its bottle, and a configuration to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2

from edge.detect import load_detector

ROOT = Path(__file__).parents[2]
SHELFGATE = [sys.executable, "-c", "from edge.cli import main; main()"]
CLIP = Path("video") / "bottle-detection.mp4"


TAKEN = 2
"""Bottles that are gone at the end of the clip's beginning."""


def beginning(shared_data: Path, folder: Path, frames: int = 670) -> Path:
    """Write the clip up to where two bottles are gone and none has come back; return its path."""
    video = cv2.VideoCapture(str(shared_data / CLIP))
    rate = video.get(cv2.CAP_PROP_FPS)
    path = folder / "beginning.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (640, 360))
    for _ in range(frames):
        writer.write(video.read()[1])
    writer.release()
    video.release()
    return path


def a_bottle_bundle(shared_data: Path, folder: Path) -> Path:
    """Enrol the bottle from crops of the clip's first frame; return the bundle."""
    video = cv2.VideoCapture(str(shared_data / CLIP))
    frame = video.read()[1]
    video.release()
    pictures = folder / "pictures" / "water"
    pictures.mkdir(parents=True)
    for index, found in enumerate(load_detector("yolox_nano").detect(frame)):
        x1, y1, x2, y2 = (round(value) for value in found.box)
        cv2.imwrite(str(pictures / f"{index}.jpg"), frame[max(0, y1) : y2, max(0, x1) : x2])
    catalogue = folder / "catalogue.csv"
    catalogue.write_text(
        "sku,name,category,price_minor,currency\nwater,Spring water 50 cl,drinks,1490,SEK\n"
    )
    arguments = ["models", "enrol", "--fresh", "--json", "--out", str(folder / "bundle")]
    arguments += ["--catalogue", str(catalogue), "--pictures", str(folder / "pictures")]
    subprocess.run([*SHELFGATE, *arguments], check=True, cwd=ROOT, capture_output=True)
    return folder / "bundle"


def a_config(
    folder: Path,
    source: Path | str,
    bundle: Path,
    *,
    broker_port: int | None = None,
    tls_dir: Path | None = None,
    pace: str = "fast",
    extra: str = "",
) -> Path:
    """Write an edge.toml for a camera, with its state beside it; return its path.

    source: a clip, or where a live picture is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "edge.toml"
    path.write_text(
        f"""
[device]
id = "box-1"
site = "store-1"
state_dir = "state"
[bundle]
path = "{bundle}"
[detector]
enabled = false
[status]
port = 0
[sync]
enabled = {"false" if broker_port is None else "true"}
port = {broker_port or 1883}
{"" if tls_dir is None else f'tls_dir = "{tls_dir}"'}
[[camera]]
id = "bottles"
source = "{source}"
pace = "{pace}"
{extra}
"""
    )
    return path
