"""A line that can be bad: a TCP proxy between a device and its broker.

What a packet network does to TCP is seen by its ends as time and as broken connections; that is
what this does: it cuts, refuses, delays, throttles, and now and then holds a piece back for as long
as a lost packet takes to be sent again.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import threading
import time
from dataclasses import dataclass

CHUNK = 4_096
PIECES = 256
RETRANSMISSION_S = 0.25


@dataclass(frozen=True, slots=True)
class Weather:
    """How the line is.

    delay_s: one way. bytes_per_s: each way, of all connections together; None for as fast as it
    goes. loss: share of the pieces that are held back by a retransmission. down: every connection
    is cut, and none is taken.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    loss: float = 0.0
    down: bool = False


FINE = Weather()
CUT = Weather(down=True)
SLOW = Weather(delay_s=0.5)
NARROW = Weather(bytes_per_s=40_000)
LOSSY = Weather(loss=0.05)


class Link:
    """Listens on a port of its own and passes on to another, as the weather allows."""

    host = "127.0.0.1"

    def __init__(self, target_port: int, seed: int = 1) -> None:
        self._target_port = target_port
        self._chance = random.Random(seed)
        self._weather = FINE
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._free_at = {True: 0.0, False: 0.0}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def set(self, weather: Weather) -> None:
        """Change the weather."""
        self._weather = weather
        if weather.down:
            self._cut()

    def close(self) -> None:
        """Cut everything and listen no more."""
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port), timeout=5.0)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            if self._weather.down:
                self._cut()
                continue
            for source, sink, up in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass, args=(source, sink, up), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        """Read pieces, say when each is due at the other end, and let another thread hand over."""
        pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(PIECES)
        threading.Thread(target=self._hand_over, args=(pieces, sink), daemon=True).start()
        due = 0.0
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                weather = self._weather
                wait = weather.delay_s
                if weather.loss and self._chance.random() < weather.loss:
                    wait += RETRANSMISSION_S
                # TCP keeps the order: what comes behind a piece held back waits with it.
                due = max(due, time.monotonic() + wait)
                pieces.put((due, data))
                if weather.bytes_per_s:
                    time.sleep(self._wait_s(up, len(data) / weather.bytes_per_s))
        pieces.put((0.0, b""))
        self._close(source)

    def _wait_s(self, up: bool, takes_s: float) -> float:
        """Give how long a piece waits for those of other connections and takes itself."""
        with self._lock:
            now = time.monotonic()
            self._free_at[up] = max(self._free_at[up], now) + takes_s
            return self._free_at[up] - now

    def _hand_over(self, pieces: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        broken = False
        while True:
            due, data = pieces.get()
            if not data:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            if not broken:
                try:
                    sink.sendall(data)
                except OSError:
                    broken = True
        self._close(sink)

    def _close(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(one)
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
