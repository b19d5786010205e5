"""Try a bundle in a process of its own: what it crashes, hangs or eats up is not the appliance.

The child opens the bundle as the appliance would, on the same runtime, has it decide on its own
crops, and looks at what every group's network gives. Run as a program: bundle folder, runtime; it
prints one JSON object. Called by the installer of bundles, through `try_bundle`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edge.embed import Recogniser
from edge.runtime import RuntimeUnavailable
from models.bundle import Bundle, BundleError, load_bundle

WITHIN_S = 120.0
MEMORY_BYTES = 4 * 1024**3
ROUNDS, ROUNDS_S = 5, 5.0
UNIT = 1e-2
"""How far an embedding's length may be from 1."""


def try_bundle(folder: Path, runtime: str, within_s: float = WITHIN_S) -> float:
    """Give milliseconds a crop that a bundle takes in its self-test on this box.

    within_s: how long the whole trial may take.
    Raises BundleError with the reason where it does not pass.
    """
    command = [sys.executable, "-m", "edge.bundle_trial", str(folder), runtime]
    package = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
    try:
        told, complaint = child.communicate(timeout=within_s)
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"its self-test hangs: not done after {within_s:.0f} s") from error
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    try:
        found = json.loads(told)
        reason, taken_ms = str(found["reason"]), float(found["ms"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"its self-test crashes: {_end(child.returncode, complaint)}") from error
    if reason:
        raise BundleError(reason)
    return taken_ms


def passes(bundle: Bundle, runtime: str) -> float:
    """Have a bundle decide on its own crops; give the milliseconds a crop takes at best.

    Raises BundleError or RuntimeUnavailable where it does not pass.
    """
    if not bundle.self_tests:
        raise BundleError("it has no self-test")
    recogniser = Recogniser(bundle, runtime=runtime)
    pictures = [cv2.imread(str(test.crop), cv2.IMREAD_COLOR) for test in bundle.self_tests]
    crops = [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]
    for group in bundle.groups:
        found = recogniser.embedder(group.name).embed(crops[:1])
        if found.shape != (1, group.table.dim):
            raise BundleError(
                f"group {group.name}: its model gives {found.shape[1:]} numbers, its table has "
                f"{group.table.dim}"
            )
        length = float(np.linalg.norm(found))
        if not abs(length - 1.0) < UNIT:
            raise BundleError(f"group {group.name}: an embedding of length {length:.3f}, not 1")
    recogniser.check()
    fastest_s, until = float("inf"), time.perf_counter() + ROUNDS_S
    for _ in range(ROUNDS):
        for crop in crops:
            if time.perf_counter() > until and fastest_s < float("inf"):
                break
            started = time.perf_counter()
            recogniser.decide([crop])
            fastest_s = min(fastest_s, time.perf_counter() - started)
    return 1000.0 * fastest_s


def _end(code: int, complaint: bytes) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    lines = complaint.decode(errors="replace").strip().splitlines()
    return f"exit code {code}{': ' + lines[-1][:200] if lines else ''}"


def main(folder: str, runtime: str) -> None:
    """Try a bundle and print what came of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    reason, taken_ms = "", 0.0
    try:
        taken_ms = passes(load_bundle(Path(folder)), runtime)
    except (BundleError, RuntimeUnavailable) as error:
        reason = str(error).replace(folder, "").lstrip("/: ")
    except Exception as error:  # a network may raise anything; each is a reason
        reason = (
            f"its self-test fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )
    print(json.dumps({"reason": reason, "ms": taken_ms}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
