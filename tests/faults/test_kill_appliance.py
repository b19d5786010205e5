"""A box killed again and again in the middle of a recording charges as if it never had been."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cloud_sync.broker import Broker
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess
from tests.edge.bottles import ROOT, SHELFGATE, TAKEN, a_config, beginning

KILLS = 20
SESSION = "shopper-1"


def run(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the appliance in a process of its own."""
    return subprocess.Popen(
        [*SHELFGATE, "run", "--config", str(config), "--until-end"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=log.open("ab"),
    )


def let_in(state: Path) -> None:
    """Open the session before the first frame, as the entry gate did."""
    ledger = Ledger(state / "ledger.db", "box-1")
    ledger.open_session(SESSION, 0.0)
    ledger.close()


def whole(lines: list[Any], reviews: list[Any], total: int) -> dict[str, Any]:
    return {
        "lines": [(line["sku"], line["quantity"], line["event_ids"]) for line in lines],
        "reviews": sorted((one["event_id"], one["reason"]) for one in reviews),
        "total": total,
    }


def undisturbed(config: Path, tmp_path: Path) -> tuple[dict[str, Any], list[str], float]:
    """Run once without any trouble; return the cart, the events, and how long it took."""
    state = config.parent / "state"
    let_in(state)
    began = time.monotonic()
    assert run(config, tmp_path / "undisturbed.log").wait(120) == 0
    took_s = time.monotonic() - began
    ledger = Ledger(state / "ledger.db", "box-1")
    cart = ledger.cart(SESSION)
    ledger.close()
    lines = [
        {"sku": one.sku, "quantity": one.quantity, "event_ids": list(one.event_ids)}
        for one in cart.lines
    ]
    reviews = [{"event_id": one.event_id, "reason": one.reason.value} for one in cart.reviews]
    events = sorted(path.name for path in (state / "evidence").iterdir())
    return whole(lines, reviews, cart.total_minor), events, took_s


@pytest.mark.slow
def test_twenty_kills_change_nothing_at_the_hub(
    shared_data: Path, bottle_bundle: Path, broker: Broker, hub: HubProcess, tmp_path: Path
) -> None:
    chance = random.Random(6)
    clip = beginning(shared_data, tmp_path)
    expected, events, took_s = undisturbed(
        a_config(tmp_path / "calm", clip, bottle_bundle), tmp_path
    )
    assert len(events) == 4
    assert expected["total"] == TAKEN * 1490
    config = a_config(tmp_path / "rough", clip, bottle_bundle, broker_port=broker.port)
    let_in(tmp_path / "rough" / "state")

    killed_at_work = 0
    for _ in range(KILLS):
        process = run(config, tmp_path / "rough.log")
        time.sleep(chance.uniform(0.2, 1.0) * min(took_s, 6.0))
        killed_at_work += process.poll() is None
        process.kill()
        process.wait()
    assert run(config, tmp_path / "rough.log").wait(120) == 0

    at_hub = hub.get(f"/carts/{SESSION}")
    assert whole(at_hub["lines"], at_hub["reviews"], at_hub["total_minor"]) == expected
    booked = [one for one in hub.get("/events", limit=1000) if one["entry"]["type"] == "item"]
    assert sorted(one["entry"]["event_id"] for one in booked) == events
    assert not list((tmp_path / "rough").rglob("*.part"))
    assert killed_at_work >= KILLS // 2
