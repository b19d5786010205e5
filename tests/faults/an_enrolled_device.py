"""A device process with certificates that books one visit, and logs all that there is to log.

Run as a program: folder of the ledger, broker port, folder of the certificates, site/device.
"""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

from cloud_sync.device.agent import Agent
from cloud_sync.messages import Reply
from cloud_sync.mqtt import Certificates
from edge.ledger import Ledger


def main(folder: str, port: str, tls: str, address: str) -> None:
    """Book and send until killed."""
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s: %(message)s")
    site, device = address.split("/")
    path, where = Path(folder) / "ledger.db", Path(tls)
    ledger = Ledger(path, device)
    ledger.open_session("anna", 0.0)
    files = Certificates(where / "ca.pem", where / "device.pem", where / "device.key")
    agent = Agent(
        path, "127.0.0.1", int(port), device, site, lambda _: Reply(ok=True),
        certificates=files, keepalive_s=5,
    )  # fmt: skip
    agent._client.enable_logger(logging.getLogger("mqtt"))
    agent.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
