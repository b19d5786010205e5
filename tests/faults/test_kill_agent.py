"""Whatever dies, and whenever: the hub's carts end as those of a run that nothing disturbed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cloud_sync.broker import Broker
from edge.ledger import Ledger
from tests.cloud_sync.a_device import ROOT, HubProcess, until
from tests.faults.a_playing_device import EVENTS, VISITS, play

PROGRAM = "import sys; from tests.faults.a_playing_device import main; main(*sys.argv[1:])"


class DeviceProcess:
    """A device that can be killed and started again on the same disk."""

    def __init__(self, ledger: Path, port: int, pause_s: float) -> None:
        self._arguments = [str(ledger), str(port), str(pause_s)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *self._arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def undisturbed(tmp_path: Path) -> dict[str, Any]:
    ledger = Ledger(tmp_path / "undisturbed.db", "box-1")
    play(ledger)
    carts = {cart.session: cart for cart in ledger.carts(open_only=False)}
    ledger.close()
    return {
        name: (
            [
                {**asdict(line), "event_ids": list(line.event_ids), "evidence": list(line.evidence)}
                for line in cart.lines
            ],
            [(one.event_id, one.reason.value) for one in cart.reviews],
            cart.total_minor,
            cart.is_open,
        )
        for name, cart in carts.items()
    }


def at_hub(hub: HubProcess) -> dict[str, Any]:
    return {
        cart["session"]: (
            cart["lines"],
            [(one["event_id"], one["reason"]) for one in cart["reviews"]],
            cart["total_minor"],
            cart["closed_at"] is None,
        )
        for cart in hub.get("/carts") + hub.get("/receipts")
    }


def drained(path: Path) -> bool:
    ledger = Ledger(path, "box-1")
    waiting = ledger.waiting()
    ledger.close()
    return waiting == 0


def check(hub: HubProcess, path: Path, tmp_path: Path) -> None:
    until(lambda: drained(path), 30)
    assert at_hub(hub) == undisturbed(tmp_path)
    events = hub.get("/events", limit=1000)
    sequences = sorted(one["entry"]["sequence"] for one in events)
    assert sequences == list(range(1, VISITS * (EVENTS + 2) + 1))


@pytest.mark.slow
def test_the_device_is_killed_twenty_times(broker: Broker, hub: HubProcess, tmp_path: Path) -> None:
    chance = random.Random(1)
    path = tmp_path / "ledger.db"
    device = DeviceProcess(path, broker.port, 0.012)
    for _ in range(20):
        time.sleep(chance.uniform(0.4, 1.5))
        device.kill()
        device.start()
    assert device.process.stdout is not None
    assert device.process.stdout.readline() == "played\n"
    check(hub, path, tmp_path)
    device.kill()


@pytest.mark.slow
def test_device_broker_and_hub_are_killed_in_turn(
    broker: Broker, hub: HubProcess, tmp_path: Path
) -> None:
    chance = random.Random(2)
    path = tmp_path / "ledger.db"
    device = DeviceProcess(path, broker.port, 0.01)
    for turn in range(9):
        time.sleep(chance.uniform(0.3, 1.2))
        victim: Any = (device, broker, hub)[turn % 3]
        victim.kill()
        time.sleep(chance.uniform(0.0, 0.3))
        victim.start()
    assert device.process.stdout is not None
    assert device.process.stdout.readline() == "played\n"
    check(hub, path, tmp_path)
    device.kill()
