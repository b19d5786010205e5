"""A box process that books events and takes bundles, and says what it has acknowledged.

Run as a program: state folder, broker port, root.json, packaged bundle. Prints `booked ID` once a
booking has returned, and `runs VERSION` once another bundle decides
and is trusted.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_device import an_event, book

VISIT = 20


def say(words: str) -> None:
    """Print a line in one call, so that it has its place among the writes to the disk."""
    os.write(1, f"{words}\n".encode())


def main(folder: str, port: str, root: str, packaged: str) -> None:
    """Run until killed."""
    box = Box(Path(folder), int(port), Path(root).read_bytes(), Path(packaged), name="box-1")
    said, number = None, 0
    while True:
        if box.running != said:
            box.decide()
            if box.slots.state.probation is None:
                said = box.running
                say(f"runs {said[1]}")
        visit, step = divmod(number, VISIT)
        if step == 0:
            box.ledger.open_session(f"visit-{visit}", float(number))
        event = an_event(f"e-{number}", "pick", "cola", time_s=float(number))
        assert book(box.ledger, event) is not None
        say(f"booked e-{number}")
        if step == VISIT - 1:
            box.ledger.close_session(f"visit-{visit}", float(number))
        number += 1
        time.sleep(0.03)


if __name__ == "__main__":
    main(*sys.argv[1:])
