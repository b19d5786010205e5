"""A broker of one's own: mosquitto on a free loopback port, for the demo, the tests and rehearsals.

A shop runs its own broker, with certificates and access lists; this one lets anybody on the same
machine in and is gone when it is closed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages {receive_maximum}
max_queued_messages 200000
persistence {persistence}
persistence_location {directory}/
autosave_interval 1
log_dest file {directory}/mosquitto.log
{user}
"""

WAIT_S = 10.0


class BrokerError(Exception):
    """No broker could be started; the text says what to do."""


def find_mosquitto() -> Path:
    """Give the mosquitto program. Raises BrokerError where it is not installed."""
    found = shutil.which(
        "mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )
    if found is None:
        raise BrokerError("mosquitto is not installed: apt-get install mosquitto")
    return Path(found)


def free_port() -> int:
    """Give a TCP port on the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A mosquitto process; a context manager that starts and stops it.

    persistent: keeps sessions and queued messages over a stop (not over a kill). receive_maximum:
    messages that a client may have under way to it.
    host, port: where it listens; the port stays the same over restarts.
    """

    host = "127.0.0.1"

    def __init__(self, *, persistent: bool = False, receive_maximum: int = 2_000) -> None:
        self._program = find_mosquitto()
        self._persistent = persistent
        self._receive_maximum = receive_maximum
        self._directory = Path(tempfile.mkdtemp(prefix="shelfgate-broker-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> Broker:
        """Start it."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it and remove its files."""
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id, None while it is stopped."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start, or start again on the same port; return once it takes connections.

        Raises BrokerError where it does not come up.
        """
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(
            CONFIGURATION.format(
                port=self.port,
                receive_maximum=self._receive_maximum,
                persistence="true" if self._persistent else "false",
                directory=self._directory,
                user="user root" if os.geteuid() == 0 else "",
            )
        )
        self._process = subprocess.Popen(
            [self._program, "-c", configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + WAIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise BrokerError(f"mosquitto did not start on port {self.port}: {self._log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            self._wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._wait()

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=0.5).close()
        except OSError:
            return False
        return True

    def _log(self) -> str:
        log = self._directory / "mosquitto.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return lines[-1] if lines else "it wrote no log"
