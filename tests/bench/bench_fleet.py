"""What a fleet costs a hub: memory, and how long until everything is there.

Simulated devices with real MQTT connections (`shelfgate hub simulate-fleet`), one hub process with
one worker on SQLite, one broker; all on this machine. Called by `shelfgate bench fleet`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cloud_sync.broker import Broker
from tests.bench.bench_ingest import ROOT, _start_hub

HUB_MB = 500.0


def run(devices: int = 1_000, seconds: float = 60.0) -> dict[str, Any]:
    """Measure; seconds: how long the devices book."""
    with tempfile.TemporaryDirectory(prefix="shelfgate-fleet-") as folder, Broker() as broker:
        hub, _ = _start_hub(broker, str(Path(folder) / "hub.db"), Path(folder), 1)
        memory: list[float] = []
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(hub.pid, memory, done))
        watcher.start()
        try:
            fleet = _fleet(broker.port, devices, seconds)
        finally:
            done.set()
            watcher.join()
            hub.terminate()
            hub.wait()
    most = max(memory)
    missed = [] if most < HUB_MB else [f"the hub took {most:.0f} MB, wanted {HUB_MB:.0f}"]
    if fleet["waiting"]:
        missed.append(f"{fleet['waiting']} entries were not acknowledged")
    return {
        "devices": devices,
        "entries": fleet["booked"],
        "entries_per_s": round(fleet["booked"] / seconds, 1),
        "not_acknowledged": fleet["waiting"],
        "all_there_after_s": fleet["drained_s"],
        "hub_rss_mb": round(most, 1),
        "short_of": missed,
    }


def _fleet(port: int, devices: int, seconds: float) -> dict[str, Any]:
    arguments = ["hub", "simulate-fleet", "--devices", str(devices), "--seconds", str(seconds)]
    arguments += ["--broker-port", str(port), "--events-per-min", "6", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from edge.cli import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _watch(pid: int, memory: list[float], done: threading.Event) -> None:
    while not done.wait(0.5):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                memory.append(int(line.split()[1]) / 1024)


if __name__ == "__main__":
    begun = time.monotonic()
    print(json.dumps({**run(), "took_s": round(time.monotonic() - begun, 1)}, indent=2))
