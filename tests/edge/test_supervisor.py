"""What systemd is told, over a real notification socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.supervisor import Supervisor
from models.bundle import DEFAULT_BUNDLE
from tests.edge.bottles import ROOT, SHELFGATE, a_config
from tests.edge.test_replay import drawn


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def test_a_sign_of_life_comes_in_a_third_of_the_time_and_not_more_often(
    systemd: socket.socket, tmp_path: Path
) -> None:
    told = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"})

    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        told.alive()

    systemd.setblocking(False)
    assert [systemd.recv(100), systemd.recv(100), systemd.recv(100)] == [b"WATCHDOG=1"] * 3
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"NOTIFY_SOCKET": "vsock:2:1234"}],
)
def test_where_nobody_supervises_nothing_happens(environment: dict[str, str]) -> None:
    told = Supervisor({**environment, "WATCHDOG_USEC": "1000"})
    told.ready("here")
    told.alive()
    told.stopping()


def test_an_appliance_says_when_it_is_up_that_it_lives_and_that_it_stops(
    systemd: socket.socket, tmp_path: Path
) -> None:
    config = a_config(tmp_path, drawn(tmp_path / "drawn.avi"), DEFAULT_BUNDLE, pace="real")
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
    process = subprocess.Popen(
        [*SHELFGATE, "run", "--config", str(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **told},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert systemd.recv(500).startswith(b"READY=1\nSTATUS=the page is at http://127.0.0.1:")
        assert [systemd.recv(500) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    last = b""
    systemd.settimeout(0.2)
    while last != b"STOPPING=1":
        last = systemd.recv(500)
    assert process.returncode == 0
