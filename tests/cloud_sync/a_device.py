"""Small builders: a device's ledger with events in it, a hub process, and its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from edge.events import DecidedEvent, Kind, ShelfEvent
from edge.gate import Candidate, Decision, Verdict
from edge.ledger import Booking, Ledger, Provenance
from tests.cloud_sync.killing import children_of, kill_with_children

ROOT = Path(__file__).parents[2]
COMMAND = "from edge.cli import main; main()"
BUNDLE = Provenance(bundle="default", bundle_version="1", model="all@1", table="all@1")
PICTURE = np.zeros((2, 2, 3), np.uint8)
PRICES = {"cola": 150, "chips": 275, "soap": 320}


def an_event(
    event_id: str,
    kind: str = "pick",
    sku: str | None = "cola",
    *,
    time_s: float = 1.0,
    quantity: int = 1,
    verdict: Verdict | None = None,
) -> DecidedEvent:
    """An event, accepted where it has a sku and for review where it has none."""
    event = ShelfEvent(
        kind=Kind(kind),
        time_s=time_s,
        decided_s=time_s + 1.0,
        camera="cam-1",
        zone="shelf-1",
        box=(1.0, 2.0, 3.0, 4.0),
        quantity=quantity,
        crops=(PICTURE,),
        before=PICTURE,
        after=PICTURE,
    )
    settled = verdict or (Verdict.REVIEW if sku is None else Verdict.ACCEPT)
    decision = Decision(settled, sku, 0.125, (Candidate(sku or "cola", 0.125),), "all")
    return DecidedEvent(event_id, event, decision)


def book(ledger: Ledger, event: DecidedEvent) -> Booking | None:
    """Book an event at the price its product has here."""
    price = PRICES.get(event.decision.sku or "")
    return ledger.book(
        event, BUNDLE, [f"{event.event_id}.jpg"], price, None if price is None else "EUR"
    )


def a_jpeg() -> bytes:
    """A small picture."""
    return cv2.imencode(".jpg", np.full((40, 40, 3), 90, np.uint8))[1].tobytes()


def book_with_pictures(
    ledger: Ledger, state_dir: Path, event_id: str, sku: str | None = None
) -> None:
    """Book an event with its pictures on the disk; for review where it has no sku."""
    names = [f"{event_id}/{name}.jpg" for name in ("crop-0", "before")]
    for name in names:
        path = state_dir / "evidence" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(a_jpeg())
    assert ledger.book(an_event(event_id, sku=sku), BUNDLE, names, 150, "EUR") is not None


def until(true: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait for something to become true; fail where it does not."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.03)


class HubProcess:
    """A real hub in a process of its own."""

    def __init__(
        self, database: str, broker_port: int, log: Path, worker: str = "1", workers: int = 1
    ) -> None:
        self._database, self.broker_port, self._log = database, broker_port, log
        self._worker, self._workers = worker, workers
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        arguments = ["hub", "serve", "--migrate", "--open", "--json", "--port", "0"]
        arguments += ["--evidence", str(self._log.parent / "pictures")]
        arguments += ["--database", self._database, "--broker-port", str(self.broker_port)]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                COMMAND,
                *arguments,
                "--worker",
                self._worker,
                "--workers",
                str(self._workers),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self._log.open("ab"),
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        self.url = json.loads(line)["api"]

    def children(self) -> list[int]:
        """The processes it has started: its workers, where it has several."""
        return children_of(self._process.pid)

    def kill(self) -> None:
        """End it as a power cut would."""
        kill_with_children(self._process)

    def stop(self) -> None:
        """End it in good order."""
        self._process.terminate()
        self._process.wait(15)

    def get(self, path: str, **query: Any) -> Any:
        """Ask the API."""
        answer = httpx.get(self.url + path, params=query, timeout=10.0)
        answer.raise_for_status()
        return answer.json()

    def totals(self, device: str) -> dict[str, int]:
        """The total of every session of a device, open and closed."""
        carts = self.get("/carts", limit=1000) + self.get("/receipts", limit=1000)
        return {cart["session"]: cart["total_minor"] for cart in carts if cart["device"] == device}
