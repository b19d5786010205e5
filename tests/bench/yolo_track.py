"""Print how fast ultralytics tracks over a clip: its smallest network, untrained, on OpenVINO.

A program of its own, run by `bench_pipeline` in a folder that is thrown away: what it exports is
written there. Its weights are random, since none are needed to be timed; it finds next to nothing,
which can only make it faster.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from ultralytics import YOLO

ARCHITECTURE = "yolo11n"
SIDE = 320


def main(clip: str) -> None:
    """Build, export, track; the last line printed is a JSON object."""
    network = YOLO(f"{ARCHITECTURE}.yaml")
    exported = network.export(format="openvino", imgsz=SIDE, verbose=False)
    model = YOLO(str(Path(exported)), task="detect")
    model.track(np.zeros((360, 640, 3), np.uint8), imgsz=SIDE, device="cpu", verbose=False)
    started = time.perf_counter()
    results = model.track(
        clip, stream=True, persist=True, imgsz=SIDE, device="cpu", verbose=False, save=False
    )
    frames = sum(1 for _ in results)
    elapsed_s = time.perf_counter() - started
    print(json.dumps({"model": ARCHITECTURE, "frames": frames, "fps": frames / elapsed_s}))


if __name__ == "__main__":
    main(sys.argv[1])
