"""Whole pipeline on a clip, beside a bare detector on every frame and ultralytics' tracker.

All in one run on the same cores, decoding included: what `shelfgate replay` runs; our detector
with an asynchronous queue over every frame; and `YOLO(openvino).track()` of the smallest
architecture at 320 pixels. Called by `shelfgate bench pipeline`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edge.config import CameraSettings, default
from edge.detect import load_detector
from edge.recording import Recording
from edge.replay import replay
from edge.source import CaptureError
from models.bad_input import BadInput
from models.bundle import DEFAULT_BUNDLE, load_bundle
from tests.bench.results import table
from tests.shared import data_folder, shared_folder

CLIP = "video/bottle-detection.mp4"
OVER_BARE, OVER_TRACKER, LATE_S = 1.5, 3.0, 1.5
TRACKER_LIMIT_S = 600


def run(clip: Path | None = None, rounds: int = 3) -> dict[str, Any]:
    """Measure on a clip, the bottle clip where none is given.

    rounds: how often the pipeline, the bare detector and the tracker run, in turn; medians are
        given.
    Raises BadInput where there is no such clip, or it cannot be decoded.
    """
    path = clip or bottle_clip()
    ours, bare, late, frames = [], [], [], 0
    trackers: list[dict[str, Any]] = []
    stages: dict[str, Any] = {}
    try:
        for _ in range(rounds):
            replayed = replay(default(), CameraSettings("camera-1", str(path), "fast"),
                              load_bundle(DEFAULT_BUNDLE), None)  # fmt: skip
            ours.append(replayed.report["fps"])
            frames, stages = replayed.report["frames"], replayed.report["stages_ms"]
            late = [event["decided_s"] - event["time_s"] for event in replayed.events]
            bare.append(_bare_detector(path))
            if not any("skipped" in tracker for tracker in trackers):
                trackers.append(_tracker(path))
    except CaptureError as error:
        raise BadInput(str(error)) from error
    tracker = trackers[-1]
    if "fps" in tracker:
        tracker = {**tracker, "fps": median(each["fps"] for each in trackers)}
    figures = _figures(path, frames, median(ours), median(bare), tracker, late)
    return {**figures, "stages_ms": stages}


def _figures(
    clip: Path, frames: int, ours: float, bare: float, tracker: dict[str, Any], late: list[float]
) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "clip": clip.name,
        "frames": frames,
        "pipeline_fps": round(ours, 1),
        "bare_detector_fps": round(bare, 1),
        "over_bare_detector": round(ours / bare, 2),
        "events": len(late),
        "late_p95_s": round(float(np.percentile(late, 95)), 3) if late else None,
    }
    if "fps" in tracker:
        figures["tracker"] = tracker["model"]
        figures["tracker_fps"] = round(tracker["fps"], 1)
        figures["over_tracker"] = round(ours / tracker["fps"], 2)
    else:
        figures["tracker_skipped"] = tracker["skipped"]
    figures["short_of"] = [
        f"{name} {figures[name]}, wanted {wanted}"
        for name, wanted in (("over_bare_detector", OVER_BARE), ("over_tracker", OVER_TRACKER))
        if figures.get(name, wanted) < wanted
    ]
    if (figures["late_p95_s"] or 0.0) > LATE_S:
        figures["short_of"].append(f"late_p95_s {figures['late_p95_s']}, wanted {LATE_S} at most")
    return figures


def bottle_clip() -> Path:
    """Return where the clip of the bottles lies. Raises BadInput where it is not."""
    path = data_folder() / CLIP
    if path.is_file():
        return path
    raise BadInput(
        f"no bottle-detection.mp4 under {shared_folder()}: name a clip with --clip, or set "
        "SHELFGATE_SHARED to the folder that has it"
    )


def _bare_detector(clip: Path) -> float:
    """Return frames per second of the detector alone, on every frame."""
    detector = load_detector(default().detector.network, min_score=default().detector.min_score)
    warm = [np.zeros((360, 640, 3), np.uint8)] * 4
    list(detector.detect_many(warm))
    source = Recording(clip, "camera-1")
    started = time.perf_counter()
    seen = sum(1 for _ in detector.detect_many(frame.image for frame in source))
    elapsed_s = time.perf_counter() - started
    source.stop()
    return seen / elapsed_s


def _tracker(clip: Path) -> dict[str, Any]:
    """Return what `yolo_track.py` prints, or {"skipped": why}."""
    if importlib.util.find_spec("ultralytics") is None:
        return {"skipped": "ultralytics is not installed: pip install 'shelfgate[train]'"}
    program = str(Path(__file__).with_name("yolo_track.py"))
    with tempfile.TemporaryDirectory(prefix="shelfgate-bench-") as folder:
        settings = {"YOLO_CONFIG_DIR": folder, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true",
                    "YOLO_VERBOSE": "false"}  # fmt: skip
        try:
            ran = subprocess.run(
                [sys.executable, program, str(clip.resolve())],
                cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True,
                timeout=TRACKER_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"skipped": f"not done within {TRACKER_LIMIT_S} s"}
    if ran.returncode:
        return {"skipped": (ran.stderr.strip().splitlines() or ["failed"])[-1]}
    answer: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return answer


def markdown(figures: dict[str, Any]) -> str:
    """Return the section of docs/results.md."""
    tracker = f"`YOLO({figures.get('tracker')}, openvino, 320 px).track()`"
    fps = [
        ("whole pipeline", figures["pipeline_fps"], ""),
        ("bare detector, async, every frame", figures["bare_detector_fps"],
         f"{figures['over_bare_detector']}x"),
        (tracker, figures["tracker_fps"], f"{figures['over_tracker']}x")
        if "tracker" in figures
        else ("ultralytics", "-", figures["tracker_skipped"]),
    ]  # fmt: skip
    lines = (
        f"`{figures['clip']}`, {figures['frames']} frames, decoding included. "
        f"{figures['events']} events; 95% are decided within {figures['late_p95_s']} s of "
        "happening, in stream time."
    )
    spent = [
        (stage, times["calls"], times["p50"], times["p95"], round(times["total"] / 1000, 2))
        for stage, times in figures["stages_ms"].items()
    ]
    stages = table(("stage", "calls", "p50 ms", "p95 ms", "total s"), spent)
    return f"{lines}\n\n{table(('', 'frames/s', 'the pipeline is faster by'), fps)}\n\n{stages}"
