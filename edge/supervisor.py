"""Tell systemd how the appliance is, so that one that hangs is started again.

The protocol of sd_notify(3): a line to the socket that systemd names in the environment, where it
supervises the process; elsewhere nothing happens. Called by `shelfgate run`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

SHARE = 1 / 3
"""How much of the time it is given passes between two signs of life."""


class Supervisor:
    """systemd, as a process sees it; from one thread.

    environment: where NOTIFY_SOCKET and WATCHDOG_USEC stand, the process's own.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._every_s = int(microseconds) * 1e-6 * SHARE if microseconds.isdigit() else None
        self._last_s = float("-inf")

    def ready(self, status: str) -> None:
        """Say that everything is up. status: one line for `systemctl status`."""
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Give a sign of life, if one is wanted and due; may be called as often as one likes."""
        now_s = time.monotonic()
        if self._every_s is not None and now_s - self._last_s >= self._every_s:
            self._last_s = now_s
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the process is ending in good order."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        """Send a line; a supervisor that does not listen is no reason to stop."""
        if not self._address.startswith(("/", "@")):
            return
        address = self._address
        if address.startswith("@"):  # an abstract socket
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.sendto(text.encode(), address)
        except OSError:
            return
