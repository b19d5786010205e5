"""An ingest worker that is killed alone: the other goes on, and it is started again."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import httpx
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.messages import Reply
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess, an_event, book, until

WORKERS, KILLS, EACH = 2, 6, 40


def is_ready(hub: HubProcess) -> bool:
    return httpx.get(f"{hub.url}/readyz", timeout=10.0).status_code == 200


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_and_comes_back(tmp_path: Path) -> None:
    chance = random.Random(3)
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    ledger.open_session("anna", 0.0)
    with Broker() as broker:
        hub = HubProcess(
            str(tmp_path / "hub.db"), broker.port, tmp_path / "hub.log", workers=WORKERS
        )
        agent = Agent(
            tmp_path / "ledger.db", broker.host, broker.port, "box-1", "store-1",
            lambda _: Reply(ok=True), resend_after_s=1.0,
        )  # fmt: skip
        agent.start()
        until(lambda: is_ready(hub), 60)
        killed: set[int] = set()
        for number in range(KILLS):
            for one in range(EACH):
                book(ledger, an_event(f"e{number}-{one}"))
            time.sleep(chance.uniform(0.0, 0.1))
            victim = hub.children()[number % WORKERS]
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            until(lambda: len(set(hub.children()) - killed) == WORKERS and is_ready(hub), 60)
        until(lambda: ledger.waiting() == 0, 60)
        assert len(killed) == KILLS
        booked = [row["entry"]["event_id"] for row in hub.get("/events", limit=1000)]
        expected = {f"e{number}-{one}" for number in range(KILLS) for one in range(EACH)}
        assert len(booked) == len(set(booked)) == KILLS * EACH + 1
        assert expected < set(booked)
        assert hub.totals("box-1") == {"anna": KILLS * EACH * 150}
        agent.stop()
        hub.stop()
    ledger.close()
