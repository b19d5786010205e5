"""A PostgreSQL server of the tests' own, which can be killed and comes back on the same disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psycopg

from cloud_sync.broker import free_port
from tests.cloud_sync.killing import kill_with_children

START_S = 40.0
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 64MB
max_connections = 40
fsync = on
"""


def programs() -> Path | None:
    """Give the folder with initdb and postgres, None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


class Postgres:
    """A server on a free loopback port; a context manager. password: None lets everybody in."""

    def __init__(self, password: str | None = None) -> None:
        folder = programs()
        assert folder is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self._programs = folder
        self._folder = Path(tempfile.mkdtemp(prefix="shelfgate-postgres-"))
        # PostgreSQL does not run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self.port = free_port()
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database's address for SQLAlchemy."""
        hub = "hub" if self._password is None else f"hub:{self._password}"
        return f"postgresql+psycopg://{hub}@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Postgres:
        secret = self._folder / "password"
        secret.write_text(f"{self._password or 'none'}\n")
        if self._user is not None:
            shutil.chown(secret, self._user)
        method = "trust" if self._password is None else "scram-sha-256"
        subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._data, "-U", "hub", "-E", "UTF8"),
                *("-A", method, "--pwfile", secret),
            ],
            user=self._user,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start, or start again; return once it takes connections."""
        end = time.monotonic() + START_S
        while True:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port)],
                user=self._user,
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=(self._folder / "log").open("ab"),
            )
            while self._process.poll() is None:
                if self._answers():
                    return
                assert time.monotonic() < end, (self._folder / "log").read_text()[-2_000:]
                time.sleep(0.05)
            assert time.monotonic() < end, (self._folder / "log").read_text()[-2_000:]
            time.sleep(0.2)

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self._folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """End it and all its processes as a power cut would."""
        assert self._process is not None
        kill_with_children(self._process)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
