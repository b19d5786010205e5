"""A storm over one device, its line, the broker, the hub and the database, and what came of it.

Everything is real: processes killed with SIGKILL, mosquitto, PostgreSQL, and a proxy on the line.
The tests run it small; `shelfgate bench faults` runs it whole and writes the figures down.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from cloud_sync.broker import Broker
from cloud_sync.fold import fold
from cloud_sync.hub.carts import Carts, Visit
from cloud_sync.hub.database import open_database
from cloud_sync.messages import decode
from edge.ledger import Ledger
from tests.cloud_sync.a_database import Postgres
from tests.cloud_sync.a_device import ROOT, HubProcess
from tests.faults.a_busy_device import VISIT, book_next
from tests.faults.a_link import CUT, FINE, LOSSY, NARROW, SLOW, Link

PROGRAM = "import sys; from tests.faults.a_busy_device import main; main(*sys.argv[1:])"
PLAY_S = 1_800.0
"""How long the device may take to book everything; the machine may be a busy one."""

PAGE = 1_000
WEATHERS = (CUT, SLOW, NARROW, LOSSY)


@dataclass(slots=True)
class DeviceProcess:
    """The device; can be killed and started again on the same disk. mb: its memory, as it says."""

    ledger: Path
    port: int
    entries: int
    per_s: float
    played: bool = False
    mb: list[float] = field(default_factory=list)
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        arguments = [str(self.ledger), str(self.port), str(self.entries), str(self.per_s)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # killed in the middle of the line
            self.mb.append(said["mb"])
            self.played = said["played"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a storm left. healed_s: from the last fault until the hub had everything.

    agent_mb: the device's memory, least and most, after its start.
    """

    events: int
    kills: int
    weathers: int
    healed_s: float
    total_s: float
    agent_mb: tuple[float, float]


def storm(
    folder: Path,
    *,
    entries: int,
    kills: int,
    per_s: float,
    pause_s: tuple[float, float],
    seed: int = 1,
    beforehand: int = 0,
    heal_s: float = 60.0,
) -> Outcome:
    """Let a device book entries while everything breaks; check that the hub ends with the same.

    entries: how many in all, of which `beforehand` lie in the outbox before anything starts.
    kills: how many processes die. per_s: entries booked a second. pause_s: between two faults,
    least and most. heal_s: how long after the last fault everything must be there.
    Raises AssertionError where an event is missing, twice or another, or a cart differs.
    """
    path = folder / "ledger.db"
    if beforehand:
        fill(path, beforehand)
    chance = random.Random(seed)
    begun = time.monotonic()
    with Postgres() as database, Broker() as broker, _linked(broker) as link:
        hub = HubProcess(database.url, broker.port, folder / "hub.log", workers=2)
        device = DeviceProcess(path, link.port, entries, per_s)
        weathers = 0
        try:
            victims: list[Any] = [device, broker, hub, database]
            for number in range(kills):
                time.sleep(chance.uniform(*pause_s))
                if number % 3 == 1:
                    link.set(chance.choice(WEATHERS))
                    weathers += 1
                else:
                    link.set(FINE)
                victim = victims[number % 4]
                victim.kill()
                time.sleep(chance.uniform(0.0, 0.3))
                victim.start()
            link.set(FINE)
            faults_end = time.monotonic()
            until(lambda: device.played, PLAY_S)
            played_at = time.monotonic()
            engine = open_database(database.url)
            until(lambda: hub_has(engine) >= entries and waiting(path) == 0, heal_s)
            healed_s = time.monotonic() - max(faults_end, played_at)
            compare(engine, path, entries)
            engine.dispose()
        finally:
            device.kill()
            hub.kill()
    low, high = min(device.mb), max(device.mb)
    return Outcome(entries, kills, weathers, round(healed_s, 1),
                   round(time.monotonic() - begun, 1), (round(low, 1), round(high, 1)))  # fmt: skip


def fill(path: Path, entries: int) -> None:
    """Book entries into a new ledger, with nothing that waits for the disk."""
    ledger = Ledger(path, "box-1")
    ledger._file._connection.execute("PRAGMA synchronous = OFF")
    for number in range(entries):
        book_next(ledger, number)
    ledger.close()


@contextmanager
def _linked(broker: Broker) -> Iterator[Link]:
    link = Link(broker.port)
    yield link
    link.close()


def until(true: Callable[[], bool], within_s: float) -> None:
    """Wait for something to become true; fail where it does not."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s:.0f} s"
        time.sleep(0.1)


def hub_has(engine: Engine) -> int:
    """Count the events at the hub."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM events")).scalar_one())


def waiting(path: Path) -> int:
    """Count what the device still owes."""
    with sqlite3.connect(path, timeout=30) as rows:
        return int(rows.execute("SELECT count(*) FROM outbox").fetchone()[0])


def compare(engine: Engine, path: Path, entries: int) -> None:
    """Compare hub and device: every entry once and the same bytes, every cart the same."""
    with sqlite3.connect(path, timeout=30) as rows:
        here = rows.execute("SELECT sequence, payload FROM entries ORDER BY sequence").fetchall()
    which = text("SELECT sequence, payload FROM events ORDER BY sequence")
    with engine.connect() as connection:
        there = [(row.sequence, bytes(row.payload)) for row in connection.execute(which)]
    assert len(here) == entries
    assert there == here
    by_visit: dict[str, list[Any]] = {}
    for _, payload in here:
        entry = decode(payload)
        by_visit.setdefault(str(entry.session), []).append(entry)  # type: ignore[union-attr]
    with engine.begin() as connection:
        # What PostgreSQL does by itself within a minute of so many rows: until then it reads all of
        # a device's for each cart.
        connection.execute(text("ANALYZE"))
    carts = Carts(engine)
    visits = [*_all(carts.open), *_all(carts.receipts)]
    assert {visit.cart.session for visit in visits} == set(by_visit)
    assert len(by_visit) == -(-entries // VISIT)
    for visit in visits:
        assert visit.cart == fold(visit.cart.session, by_visit[visit.cart.session])


def _all(ask: Callable[[int, int], list[Visit]]) -> Iterator[Visit]:
    """Give all visits, page by page, as who reads them by the API."""
    start = 0
    while page := ask(PAGE, start):
        yield from page
        start += len(page)
