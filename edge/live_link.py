"""One connection to a live source: a thread that opens it and hands on what it reads.

Opening and reading may block for as long as a device likes; so a connection is never waited for,
only abandoned, and ends by itself when the device lets go of it. `edge.live` makes, watches and
replaces connections.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.source import CaptureError
from edge.video_device import Device, Picture


class Link(threading.Thread):
    """A connection, working from `start()` until it fails or is abandoned.

    open_device: opens the source; may block. arrived: called with every picture, on this thread.
    """

    def __init__(
        self,
        name: str,
        open_device: Callable[[], Device],
        arrived: Callable[[Link, Picture], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._open_device = open_device
        self._arrived = arrived
        self._abandoned = threading.Event()
        self.over = threading.Event()
        self.failure = ""

    def abandon(self) -> None:
        """Ask the connection to end, without waiting for it."""
        self._abandoned.set()

    def run(self) -> None:
        """Open, read until there is nothing more, close."""
        try:
            self._work()
        except CaptureError as error:
            self.failure = str(error)
        finally:
            self.over.set()

    def _work(self) -> None:
        device = self._open_device()
        try:
            while not self._abandoned.is_set():
                picture = device.read()
                if picture is None:
                    self.failure = "the stream ended"
                    return
                self._arrived(self, picture)
        finally:
            device.close()
