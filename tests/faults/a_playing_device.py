"""A device process that plays a fixed script of visits from the beginning, as after a power cut.

Run as a program: ledger file, broker port, pause between bookings in seconds. It prints "played"
once everything is booked, and then only keeps its agent going.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path

from cloud_sync.device.agent import Agent
from cloud_sync.messages import Reply
from edge.ledger import Ledger
from tests.cloud_sync.a_device import an_event, book

VISITS = 12
EVENTS = 40


def play(ledger: Ledger, pause_s: float = 0.0) -> None:
    """Book every event of every visit, in order; two visits in three overlap the one before."""
    chance = random.Random(7)
    for visit in range(VISITS):
        ledger.open_session(f"visit-{visit}", float(visit))
        for number in range(EVENTS):
            kind = chance.choice(["pick", "pick", "return"])
            sku = chance.choice(["cola", "chips", "soap", None])
            event = an_event(f"{visit}-{number}", kind, sku, quantity=chance.randint(1, 2))
            if book(ledger, event) is not None:
                time.sleep(pause_s)
        if visit % 3 != 1:
            ledger.close_session(f"visit-{visit}", visit + 0.5)
        if visit % 3 == 2:
            ledger.close_session(f"visit-{visit - 1}", visit + 0.5)


def main(path: str, port: str, pause_s: str) -> None:
    """Play with a live agent until killed."""
    ledger = Ledger(Path(path), "box-1")
    agent = Agent(
        Path(path),
        "127.0.0.1",
        int(port),
        "box-1",
        "store-1",
        lambda _: Reply(ok=True),
        resend_after_s=2.0,
        keepalive_s=5,
    )
    agent.start()
    play(ledger, float(pause_s))
    print("played", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
