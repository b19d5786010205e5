"""Crops embedded a second with several in flight, beside OpenVINO's benchmark_app.

The same model, cores and precision; ours includes bringing each crop to the network's size. Then
the network for small boxes, see `tests.bench.small_network`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.embed import open_embedder
from models.bundle import DEFAULT_BUNDLE, load_bundle
from tests.bench.small_network import measured

SECONDS = 5
ROUNDS = 5
"""A machine's speed wanders by more than what is looked for: turn about, and the median."""


def run(seconds: int = SECONDS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure ours and benchmark_app turn about; the ratio is the median of the rounds' own."""
    model = load_bundle(DEFAULT_BUNDLE).groups[0].model
    pairs = [
        (_ours(seconds), _benchmark_app(model.openvino, model.side, seconds)) for _ in range(rounds)
    ]
    ours, theirs = (median(speeds) for speeds in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    onnx = _ours(seconds, "onnxruntime")
    short = [] if ratio >= 0.9 else [f"{ratio:.2f} of benchmark_app's throughput, 0.9 is wanted"]
    return {
        "ours_per_s": round(ours, 1),
        "benchmark_app_per_s": round(theirs, 1),
        "ratio": round(ratio, 3),
        "onnxruntime_per_s": round(onnx, 1),
        "one_crop_ms": round(_one_crop_ms(), 3),
        **_small(),
        "short_of": short,
    }


def _small() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="shelfgate-embed-") as folder:
        return measured(Path(folder))


def _crops(count: int) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (200, 80, 3), dtype=np.uint8) for _ in range(count)]


def _ours(seconds: int, runtime: str = "openvino") -> float:
    embedder = open_embedder(load_bundle(DEFAULT_BUNDLE).groups[0].model, runtime=runtime)
    crops = _crops(32)
    list(embedder.embed_many(crops))
    started, count = time.perf_counter(), 0

    def endless() -> Any:
        while time.perf_counter() - started < seconds:
            yield from crops

    for _ in embedder.embed_many(endless()):
        count += 1
    return count / (time.perf_counter() - started)


def _one_crop_ms() -> float:
    embedder = open_embedder(load_bundle(DEFAULT_BUNDLE).groups[0].model)
    taken = []
    for crop in _crops(60):
        started = time.perf_counter()
        embedder.embed([crop])
        taken.append(time.perf_counter() - started)
    return 1000 * float(np.median(taken[10:]))


def _benchmark_app(model: Path, side: int, seconds: int) -> float:
    command = [str(Path(sys.executable).parent / "benchmark_app"), "-m", str(model), "-d", "CPU"]
    command += ["-shape", f"[1,{side},{side},3]", "-infer_precision", "f32"]
    command += ["-hint", "throughput", "-t", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = re.search(r"Throughput:\s*([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(f"benchmark_app gave no throughput: {done.stdout[-300:]}")
    return float(found.group(1))
