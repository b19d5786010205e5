"""A box process that takes whatever bundle its hub wants, until it is killed.

Run as a program: state folder, broker port, root.json, packaged bundle, name. Prints the
address of its page, the bundle it comes up with, and then every bundle that it goes over to.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.cloud_sync.a_box import Box


def main(folder: str, port: str, root: str, packaged: str, name: str) -> None:
    """Run until killed."""
    box = Box(Path(folder), int(port), Path(root).read_bytes(), Path(packaged), name=name)
    box.decide(1)
    print(box.page.url, flush=True)
    said = None
    while True:
        if box.running != said:
            said = box.running
            print(f"{said[0]} {said[1]}", flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
