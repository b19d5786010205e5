"""Try a bundle in a process of its own: what it crashes, hangs or eats up is not the appliance.

The child opens the bundle as the appliance would, on the same runtime, has it decide on its own
crops, and looks at what every group's network gives. Run as a program: runtime; it reads a
bundle's folder from its input and prints one JSON object. Called by the installer of bundles,
through `Trial`.
"""

from __future__ import annotations

import contextlib
import importlib
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


class Trial:
    """Tries bundles, each in a process of its own.

    runtime: as for `edge.runtime.open_network`. within_s: how long a trial may take.
    """

    def __init__(self, runtime: str, within_s: float = WITHIN_S) -> None:
        self._runtime, self._within_s = runtime, within_s
        self._child: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Start the next trial's process, which loads what it needs and waits for a bundle."""
        if self._child is not None and self._child.poll() is None:
            return
        package = str(Path(__file__).parents[1])
        paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(
            [sys.executable, "-m", "edge.bundle_trial", self._runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )

    def close(self) -> None:
        """End a process that was prepared for nothing."""
        if self._child is not None:
            child, self._child = self._child, None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            # Not read to their end: whoever else holds them open would be waited for.
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
            child.wait()

    def __call__(self, folder: Path) -> float:
        """Give milliseconds a crop that a bundle takes in its self-test on this box.

        Raises BundleError with the reason where it does not pass.
        """
        self.prepare()
        child, self._child = self._child, None
        assert child is not None
        try:
            told, complaint = child.communicate(f"{folder}\n".encode(), timeout=self._within_s)
        except subprocess.TimeoutExpired as error:
            reason = f"its self-test hangs: not done after {self._within_s:.0f} s"
            raise BundleError(reason) from error
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        try:
            found = json.loads(told)
            reason, taken_ms = str(found["reason"]), float(found["ms"])
        except (ValueError, KeyError, TypeError) as error:
            fell = _end(child.returncode, complaint)
            raise BundleError(f"its self-test crashes: {fell}") from error
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


def main(runtime: str) -> None:
    """Load what a trial needs, wait for a bundle's folder, try it and print what came of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with contextlib.suppress(ImportError):
        importlib.import_module(runtime)
    folder = sys.stdin.readline().rstrip("\n")
    if not folder:
        return
    reason, taken_ms = "", 0.0
    try:
        taken_ms = passes(load_bundle(Path(folder)), runtime)
    except (BundleError, RuntimeUnavailable) as error:
        reason = str(error).replace(folder, "").lstrip("/: ")
    except Exception as error:  # a network may raise anything; each is a reason
        said = " ".join(str(error).split())[:300]
        reason = f"its self-test fails: {type(error).__name__}: {said}"
    print(json.dumps({"reason": reason, "ms": taken_ms}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
