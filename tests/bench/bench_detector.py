"""Detectors side by side: average precision, and what each of them does to the events.

Precision on pictures that were kept apart from training, then the same pipeline with each of them
on the real clips and on simulated stores. Called by `shelfgate bench detector`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge.config import CameraSettings, Config, DetectorSettings, default
from edge.detect import DetectorError
from edge.replay import replay
from models.bad_input import BadInput
from models.bundle import DEFAULT_BUNDLE, load_bundle
from models.detector_evaluate import evaluate, name_of
from models.detector_evaluate import table as precisions
from models.detector_labels import MaterialError
from models.detector_material import make
from tests.bench.bench_pipeline import CLIP, bottle_clip
from tests.bench.bench_store import stores
from tests.bench.results import table
from tests.bench.scoring import score
from tests.edge import clips

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "edge" / "detectors" / "yolox_nano"
PEOPLE, AISLE = "video/one-by-one-person-detection.mp4", "video/store-aisle-detection.gif"
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
    data = bottle_clip().parents[1]
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
    outcomes = list(stores(range(first, first + seeds), minutes, jobs, modes))
    events = {
        mode: {**_clips(replace(default(), detector=settings), data), **score(outcomes, mode)}
        for mode, settings in modes.items()
    }
    names = list(modes)[:-1]
    return {"names": names, "precision": precision, "events": events,
            "seeds": seeds, "minutes": minutes}  # fmt: skip


def _clips(config: Config, data: Path) -> dict[str, Any]:
    """Replay the real clips: events of the truth that were found, and those beside it."""
    truth = clips.truth(data)
    bottles = _events(config, data / CLIP)
    wrong = clips.unmatched([SimpleNamespace(**event) for event in bottles], truth, clips.WIDTH)
    hits = len(truth) - sum(line.startswith("missing") for line in wrong)
    return {
        "bottles": hits,
        "bottles_extra": len(bottles) - hits,
        "people": len(_events(config, data / PEOPLE)),
        "aisle": len(_events(config, data / AISLE)),
    }


def _events(config: Config, clip: Path) -> list[dict[str, Any]]:
    camera = CameraSettings("camera-1", str(clip), "fast")
    return replay(config, camera, load_bundle(DEFAULT_BUNDLE), None).events


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
