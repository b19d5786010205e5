"""Detectors side by side: average precision, and what each of them does to the events.

Precision on pictures that were kept apart from training, then the same pipeline with each of them
on the real clips and on simulated stores. Called by `shelfgate bench detector`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from edge.config import CameraSettings, Config, DetectorSettings, default
from edge.detect import DetectorError
from edge.replay import replay
from models.bad_input import BadInput
from models.bundle import DEFAULT_BUNDLE, load_bundle
from models.detector_evaluate import evaluate
from models.detector_evaluate import table as precisions
from models.detector_labels import MaterialError
from models.detector_material import make
from tests.bench.results import table
from tests.bench.scoring import score
from tests.bench.simulated import Outcome, run_seed

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "edge" / "detectors" / "yolox_nano"
BOTTLES, PEOPLE, AISLE = (
    "bottle-detection.mp4",
    "one-by-one-person-detection.mp4",
    "store-aisle-detection.gif",
)
OFF = "none"
FIRST = 20
"""The seed of the first store; `shelfgate bench store` has those before it."""


def run(
    material: Path | None = None,
    detector: tuple[Path, ...] = (),
    seeds: int = 4,
    minutes: float = 3.0,
    jobs: int = 2,
    first: int = FIRST,
) -> dict[str, Any]:
    """Compare detectors.

    material: what `shelfgate detector material` made; made here where none is given.
    detector: folders to compare with the one that ships.
    first, seeds, minutes: the simulated stores. jobs: processes.
    Raises BadInput where there is no footage, or no detector in a folder.
    """
    data = Path(os.environ.get("SHELFGATE_SHARED", ROOT.parent / "shared")) / "data"
    if not (data / "video").is_dir():
        raise BadInput(f"detector: no footage at {data / 'video'}")
    folders = (SHIPPED, *detector)
    try:
        with tempfile.TemporaryDirectory(prefix="shelfgate-material-") as made:
            if material is None:
                make(data, SHIPPED, Path(made) / "all")
            precision = [evaluate(one, material or Path(made) / "all") for one in folders]
    except (MaterialError, DetectorError) as error:
        raise BadInput(str(error)) from error
    modes = {name_of(folder): DetectorSettings(path=folder) for folder in folders}
    modes[OFF] = DetectorSettings(enabled=False)
    stores = _stores(range(first, first + seeds), minutes, jobs, modes)
    events = {
        mode: _clips(replace(default(), detector=settings), data / "video")
        | {name: score(stores, mode)[name] for name in ("truth", "found", "precision", "recall")}
        for mode, settings in modes.items()
    }
    names = list(modes)[:-1]
    return {"names": names, "precision": precision, "events": events,
            "seeds": seeds, "minutes": minutes}  # fmt: skip


def name_of(folder: Path) -> str:
    """Return a detector's name; formats of one network are told apart by the folder above."""
    whole = folder.resolve()
    return f"{whole.parent.name} {whole.name}" if whole.name in {"fp16", "int8"} else whole.name


def _stores(
    seeds: range, minutes: float, jobs: int, modes: Mapping[str, DetectorSettings]
) -> list[Outcome]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(seeds)), context, cv2.setNumThreads, (1,)) as pool:
        return list(pool.map(partial(run_seed, minutes=minutes, modes=modes), seeds))


def _clips(config: Config, video: Path) -> dict[str, Any]:
    """Replay the real clips: events of the truth that were found, and those beside it."""
    lines = (video / "bottle-detection.truth.jsonl").read_text().splitlines()
    truth = [json.loads(line) for line in lines]
    bottles = _events(config, video / BOTTLES)
    hits = sum(any(_is(event, fact) for event in bottles) for fact in truth)
    return {
        "bottles": hits,
        "bottles_truth": len(truth),
        "bottles_extra": len(bottles) - hits,
        "people": len(_events(config, video / PEOPLE)),
        "aisle": len(_events(config, video / AISLE)),
    }


def _events(config: Config, clip: Path) -> list[dict[str, Any]]:
    camera = CameraSettings("camera-1", str(clip), "fast")
    return replay(config, camera, load_bundle(DEFAULT_BUNDLE), None).events


def _is(event: Mapping[str, Any], fact: Mapping[str, Any]) -> bool:
    frame = event["time_s"] * 29.83
    first, last = fact["frames"]
    left, _, right, _ = event["box"]
    return event["kind"] == fact["kind"] and first <= frame <= last and left <= fact["x"] <= right


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the section of docs/results.md."""
    events: Mapping[str, Mapping[str, Any]] = figures["events"]
    rows: Sequence[tuple[str, str]] = (
        ("bottle clip: events found, of 8", "bottles"),
        ("bottle clip: events too many", "bottles_extra"),
        ("clip of people: events, of none that stay", "people"),
        ("clip of an aisle: events, of none", "aisle"),
        ("stores: events of the truth", "truth"),
        ("stores: events found", "found"),
        ("stores: precision", "precision"),
        ("stores: recall", "recall"),
    )
    return "\n\n".join(
        (
            "Average precision at overlap 0.5 on pictures kept apart from training. Labels of the "
            "real sets (aisle, bottles, people) are YOLOX-Nano's and the palm detector's own: "
            "YOLOX-Nano's 1.000 there judges it by itself.",
            precisions(figures["precision"], figures["names"]).strip(),
            f"The events that come of it; the stores are {figures['seeds']} of "
            f"{figures['minutes']:g} minutes. `{OFF}`: the detector is switched off.",
            table(
                ("", *events), [(words, *(e[key] for e in events.values())) for words, key in rows]
            ),
        )
    )
