"""Write a simulated store to a folder: clips, truth, zones, sessions, catalogue, enrolment."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import cv2

from edge.simulate.enrolment import pictures_of
from edge.simulate.scene import point
from edge.simulate.settings import SimulationError
from edge.simulate.store import SimulatedStore

CURRENCY = "EUR"
CODEC = "mp4v"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and how fast it went."""

    folder: Path
    cameras: tuple[str, ...]
    frames: int
    events: int
    products: int
    wall_s: float


def write(
    store: SimulatedStore, folder: Path, progress: Callable[[int], None] | None = None
) -> Written:
    """Write everything into folder, which appears only once it is complete.

    progress is told the number of frames done. Raises SimulationError where the folder is in the
    way or cannot be written.
    """
    check_target(folder)
    started = perf_counter()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise SimulationError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        _write_lines(store, draft)
        _write_catalogue(store, draft)
        _write_enrolment(store, draft)
        frames = _write_clips(store, draft, progress)
        os.chmod(draft, 0o755)
        if folder.is_dir():
            folder.rmdir()
        draft.rename(folder)
    except OSError as error:
        raise SimulationError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    wall_s = perf_counter() - started
    return Written(folder, store.cameras, frames, len(store.truth()), len(store.catalogue), wall_s)


def check_target(folder: Path) -> None:
    """Raise SimulationError where folder is a file or already holds something."""
    if folder.exists() and not folder.is_dir():
        raise SimulationError(f"{folder}: is a file, give a folder to write to")
    if folder.is_dir() and any(folder.iterdir()):
        raise SimulationError(f"{folder}: is not empty, give a new folder")


def _write_lines(store: SimulatedStore, draft: Path) -> None:
    zones = {"cameras": store.zones()}
    (draft / "zones.json").write_text(json.dumps(zones, indent=1) + "\n", encoding="utf-8")
    truth = "".join(json.dumps(line) + "\n" for line in store.truth())
    (draft / "truth.jsonl").write_text(truth, encoding="utf-8")
    sessions = "".join(
        json.dumps({"session": v.session, "open_s": v.open_s, "close_s": v.close_s}) + "\n"
        for v in store.visits
    )
    (draft / "sessions.jsonl").write_text(sessions, encoding="utf-8")


def _write_catalogue(store: SimulatedStore, draft: Path) -> None:
    columns = ("sku", "name", "category", "department", "role", "price_minor", "currency")
    with (draft / "catalog.csv").open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        rows.writerow(columns)
        for product in store.catalogue:
            rows.writerow((product.sku, product.name, product.category, product.department,
                           "novel", product.price_minor, CURRENCY))  # fmt: skip


def _write_enrolment(store: SimulatedStore, draft: Path) -> None:
    camera = store.view(store.cameras[0]).camera
    scale = camera.scale(point(0.0, 0.5, 0.05))
    for product in store.catalogue:
        folder = draft / "products" / product.sku
        folder.mkdir(parents=True)
        for name, picture in pictures_of(product, store.goods, scale, store.settings.seed):
            _written(folder / f"{name}.jpg", cv2.imwrite(str(folder / f"{name}.jpg"), picture))


def _write_clips(store: SimulatedStore, draft: Path, progress: Callable[[int], None] | None) -> int:
    settings = store.settings
    code = cv2.VideoWriter.fourcc(*CODEC)
    size = (settings.width, settings.height)
    clips = {
        camera: cv2.VideoWriter(str(draft / f"{camera}.mp4"), code, settings.fps, size)
        for camera in store.cameras
    }
    count = 0
    try:
        for camera, clip in clips.items():
            _written(draft / f"{camera}.mp4", clip.isOpened())
        for _, pictures in store.frames():
            for camera, picture in pictures.items():
                clips[camera].write(picture)
            count += 1
            if progress is not None:
                progress(count)
    finally:
        for clip in clips.values():
            clip.release()
    return count


def _written(path: Path, done: bool) -> None:
    if not done:
        raise SimulationError(f"{path.name}: cannot be written; is the disk full?")
