"""A box without its hub whose disk fills: pictures go, reviews' last, and of the money nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.device.shadow import Shadow
from cloud_sync.kept_count import KeptCount
from cloud_sync.messages import Reply
from edge import retention as watch
from edge.bookkeeper import Bookkeeper
from edge.events import DecidedEvent
from edge.evidence import EvidenceFolder
from edge.ledger import Ledger
from edge.retention import Retention
from models.bundle import load_bundle
from tests.cloud_sync.a_bundle import a_bundle
from tests.cloud_sync.a_device import HubProcess, an_event, until
from tests.small_disk import a_small_disk

EVENTS, REVIEW_EVERY = 250, 25
MIN_FREE_MB = 2
NAME = "box-d"
NOISE = np.random.default_rng(3).integers(0, 255, (300, 400, 3), dtype=np.uint8)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with a_small_disk(tmp_path / "small", "24m") as folder:
        yield folder


def event(number: int, sku: str) -> DecidedEvent:
    """One with some 200 kB of pictures; every so many wait for a person."""
    wanted = None if number % REVIEW_EVERY == 0 else sku
    one = an_event(f"e{number:03}", sku=wanted, time_s=float(number))
    return replace(one, event=replace(one.event, before=NOISE, after=NOISE))


class DarkBox:
    """Ledger, bookkeeper and retention of a box on a small disk."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.evidence = folder, folder / "evidence"
        self.bundle = load_bundle(bundle)
        self.sku = next(iter(self.bundle.catalogue))
        self.ledger = Ledger(folder / "ledger.db", NAME)
        self.shadow = Shadow(folder / "desired.json")
        self.retention = Retention(
            self.evidence,
            keep_days=30,
            max_share=1.0,
            spare_mb=2 * MIN_FREE_MB,
            need=self.ledger.evidence_need,
            given_up=KeptCount(folder / "evidence.given-up"),
        )
        self.retention.when_given_up = lambda count: self.shadow.report(evidence_dropped=count)
        evidence = EvidenceFolder(self.evidence, MIN_FREE_MB)
        self.bookkeeper = Bookkeeper(self.ledger, evidence, self.bundle, time.time)

    def live(self) -> None:
        """A shopper takes a lot; the retention has a moment now and then, as it has in a day."""
        self.retention.start()
        self.bookkeeper.start()
        self.ledger.open_session("anna", 0.0)
        for number in range(EVENTS):
            self.bookkeeper.submit(event(number, self.sku))
            if number % 5 == 4:
                until(lambda: self.bookkeeper.idle and self._free_mb() >= 2 * MIN_FREE_MB)
        until(lambda: self.bookkeeper.idle)
        self.ledger.close_session("anna", 999.0)
        self.retention.stop()

    def _free_mb(self) -> float:
        return shutil.disk_usage(self.folder).free / 1_000_000

    def stop(self) -> None:
        self.bookkeeper.stop()
        self.ledger.close()


@pytest.mark.slow
def test_a_box_that_is_dark_until_its_disk_is_full_loses_pictures_and_no_money(
    small_disk: Path,
    hub: HubProcess,
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "GLANCE_S", 0.05)
    monkeypatch.setattr(watch, "FRESH_S", 0.3)
    box = DarkBox(small_disk, a_bundle(tmp_path).path)
    box.live()

    reviews = {f"e{number:03}" for number in range(0, EVENTS, REVIEW_EVERY)}
    kept = {path.name for path in box.evidence.iterdir()}
    given_up = box.retention.given_up.count
    assert box.ledger.waiting() == EVENTS + 2
    assert box.bookkeeper.problems == (), "booking never had to wait, nor were pictures refused"
    assert reviews <= kept
    assert given_up == EVENTS - len(kept) > EVENTS / 2
    assert sorted(kept - reviews) == sorted(f"e{n:03}" for n in range(EVENTS) if n % 25)[given_up:]
    assert "they were needed, 0 of them by a person" in box.retention.problems[0]

    agent = Agent(
        small_disk / "ledger.db", broker.host, broker.port, NAME, "store-1",
        lambda _: Reply(ok=True), shadow=box.shadow,
    )  # fmt: skip
    agent.start()
    try:
        until(lambda: box.ledger.waiting() == 0, 60)
        until(lambda: all(hub.get("/evidence", item=one) for one in reviews), 60)
        (receipt,) = hub.get("/receipts")
        assert receipt["total_minor"] == box.ledger.cart("anna").total_minor > 0
        assert {one["event_id"] for one in receipt["reviews"]} == reviews
        until(lambda: hub.get(f"/devices/store-1/{NAME}")["shadow"]["evidence_dropped"] == given_up)
    finally:
        agent.stop()
        box.stop()
