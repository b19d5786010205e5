"""A device that books a fixed script of events, one entry each, and goes on where it was killed.

Run as a program: ledger file, broker port, entries in all, entries a second. It prints a JSON line
of its memory every second, and "played" in it once everything is booked.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from pathlib import Path

from cloud_sync.device.agent import Agent
from cloud_sync.messages import Reply
from edge.ledger import Ledger
from tests.cloud_sync.a_device import an_event, book

VISIT = 40
"""Entries a visit: it opens, things are taken and put back, it closes."""


def book_next(ledger: Ledger, number: int) -> None:
    """Book the entry of a number, from 0; what it is follows from the number alone."""
    visit, step = divmod(number, VISIT)
    session = f"visit-{visit}"
    if step == 0:
        ledger.open_session(session, float(number))
    elif step == VISIT - 1:
        ledger.close_session(session, float(number))
    else:
        chance = random.Random(number)
        kind = chance.choice(["pick", "pick", "return"])
        sku = chance.choice(["cola", "chips", "soap", None])
        quantity = chance.randint(1, 2)
        event = an_event(f"e-{number}", kind, sku, time_s=float(number), quantity=quantity)
        assert book(ledger, event) is not None


def memory_mb() -> float:
    """Give what this process holds of the memory, in MB (RSS)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main(path: str, port: str, entries: str, per_s: str) -> None:
    """Book with a live agent until killed."""
    ledger = Ledger(Path(path), "box-1")
    agent = Agent(
        Path(path),
        "127.0.0.1",
        int(port),
        "box-1",
        "store-1",
        lambda _: Reply(ok=True),
        resend_after_s=3.0,
        keepalive_s=5,
        telemetry_s=5.0,
    )
    agent.start()
    played = threading.Event()

    def tell() -> None:
        while True:
            print(json.dumps({"mb": memory_mb(), "played": played.is_set()}), flush=True)
            time.sleep(1.0)

    threading.Thread(target=tell, daemon=True).start()
    with ledger._file.reading() as rows:
        done = int(rows.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()[0])
    begun, first = time.monotonic(), done
    for number in range(done, int(entries)):
        book_next(ledger, number)
        time.sleep(max(0.0, begun + (number - first) / float(per_s) - time.monotonic()))
    played.set()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
