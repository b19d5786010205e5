"""What one crop costs on one core by the network for small boxes: EfficientNet-Lite0 in INT8.

    python -m tests.bench.small_network FILE SIDE   prints milliseconds a crop, resizing included

Weights do not change what a network costs, so those that are published do. An N100 is not at hand;
a process of its own can be kept to the instructions that one has (AVX2 with VNNI).

Needs the `train` extra.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from edge.embed import Embedder
from edge.runtime import open_network
from models.augment import MILD, changed
from models.backbone import open_trunk
from models.crops import fitted
from models.embedder import Embedder as Trained
from models.export import export_onnx
from models.quantise import export_int8
from models.selftest import drawn

SIDE, N100_SIDE, DIM = 224, 168, 256
"""What it is trained at unless something else is asked for, and what an N100 is to look at."""

CROPS = 300
_WARM = 20
_ROUNDS = 4
"""Turn about, of which the best is taken: a machine's speed wanders by more than what is told."""

N100 = "AVX2_VNNI"


def measured(folder: Path) -> dict[str, float]:
    """Return milliseconds a crop, in floats and in INT8."""
    floats, small = _exported(folder / "whole", SIDE)
    _, least = _exported(folder / "least", N100_SIDE)
    n100 = {"ONEDNN_MAX_CPU_ISA": N100}
    asked: dict[str, Callable[[], float]] = {
        "small_float_one_core_ms": lambda: _asked(floats, SIDE),
        "small_int8_one_core_ms": lambda: _asked(small, SIDE),
        "small_int8_one_core_n100_instructions_ms": lambda: _asked(small, SIDE, **n100),
        f"small_int8_at_{N100_SIDE}_px_n100_instructions_ms": lambda: _asked(
            least, N100_SIDE, **n100
        ),
    }
    rounds = [{name: ask() for name, ask in asked.items()} for _ in range(_ROUNDS)]
    return {name: min(told[name] for told in rounds) for name in asked}


def _exported(stem: Path, side: int) -> tuple[Path, Path]:
    """Write the network in floats and in INT8, for crops of a side."""
    random = np.random.default_rng(0)
    skus = [f"drawn-{number}" for number in range(20) for _ in range(3)]
    views = [changed(drawn(number), MILD, random) for number in range(20) for _ in range(3)]
    crops = [fitted(view, side, "letterbox") for view in views]
    network = Trained(open_trunk("lite0", side=side), DIM, colour_weight=1.5).eval()
    floats = export_onnx(network, stem.with_name(f"{stem.name}-floats"), side=side, bits=8)
    return floats, export_int8(network, stem, crops, skus, most_lost=1.0)


def _asked(network: Path, side: int, **environment: str) -> float:
    command = [sys.executable, "-m", "tests.bench.small_network", str(network), str(side)]
    kept_to = {**os.environ, **environment}
    done = subprocess.run(
        command, env=kept_to, capture_output=True, text=True, check=True, timeout=300
    )
    return float(done.stdout)


def main(network: Path, side: int) -> None:
    """Print the median of what a crop costs."""
    opened = open_network(network, network, threads=1)
    embedder = Embedder(opened, side=side, dim=DIM, fit="letterbox")
    crops = np.random.default_rng(0).integers(0, 256, (8, 200, 80, 3), dtype=np.uint8)
    taken = []
    for number in range(CROPS):
        started = time.perf_counter()
        embedder.embed([crops[number % len(crops)]])
        taken.append(time.perf_counter() - started)
    print(f"{1000 * median(taken[_WARM:]):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
