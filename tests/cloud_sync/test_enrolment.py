"""A new box, from a one-time code to its events at the hub, by the commands a person types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloud_sync.broker import find_mosquitto, free_port
from cloud_sync.device.agent import Agent
from cloud_sync.hub.commands import hub as hub_command
from cloud_sync.messages import Reply
from cloud_sync.mqtt import Certificates
from edge.ledger import Ledger
from tests.cloud_sync.a_device import COMMAND, ROOT, until


def shelfgate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for one in processes:
        one.terminate()
        one.wait(20)


@pytest.mark.slow
def test_from_a_code_to_a_cart_over_tls(tmp_path: Path, ended: list[subprocess.Popen[str]]) -> None:
    folder, database = tmp_path / "broker", str(tmp_path / "hub.db")
    port, hub_port = free_port(), free_port()
    made = shelfgate(
        *("hub", "provision", "broker", "--host", "127.0.0.1", "--folder", str(folder)),
        *("--port", str(port), "--hub-port", str(hub_port), "--json"),
    )
    assert made.returncode == 0, made.stderr
    configuration = json.loads(made.stdout)["configuration"]
    ended.append(subprocess.Popen([find_mosquitto(), "-c", configuration], text=True))
    hub = subprocess.Popen(
        [
            *(sys.executable, "-c", COMMAND, "hub", "serve", "--migrate", "--json", "--port", "0"),
            *("--database", database, "--broker-port", str(hub_port)),
            *("--broker-ca", str(folder / "ca.pem"), "--broker-cert", str(folder / "hub.pem")),
            *("--broker-key", str(folder / "hub.key"), "--authority", str(folder)),
            *("--tls-cert", str(folder / "broker.pem"), "--tls-key", str(folder / "broker.key")),
            *("--evidence", str(tmp_path / "pictures")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "hub.log").open("ab"),
        text=True,
    )
    ended.append(hub)
    assert hub.stdout is not None
    url = json.loads(hub.stdout.readline())["api"]
    assert url.startswith("https://")
    asked = ("hub", "provision", "device", "store-1/box-1", "--json", "--database", database)
    code = json.loads(shelfgate(*asked, "--folder", str(folder)).stdout)["code"]
    tls = tmp_path / "tls"
    enrolled = shelfgate("enrol", "--hub", url, "--code", code, "--out", str(tls), "--json")
    assert enrolled.returncode == 0, enrolled.stderr
    assert json.loads(enrolled.stdout)["device"] == "box-1"
    assert (tls / "device.key").stat().st_mode & 0o077 == 0
    again = shelfgate("enrol", "--hub", url, "--code", code, "--out", str(tls))
    assert again.returncode == 2
    assert "the code is not good" in again.stderr
    other = code.rpartition("_")[0] + "_" + "0" * 32
    stranger = shelfgate("enrol", "--hub", url, "--code", other, "--out", str(tls))
    assert (stranger.returncode, "not the hub" in stranger.stderr) == (2, True)

    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    ledger.open_session("anna", 0.0)
    agent = Agent(
        tmp_path / "ledger.db",
        "127.0.0.1",
        port,
        "box-1",
        "store-1",
        lambda _: Reply(ok=True),
        certificates=Certificates(tls / "ca.pem", tls / "device.pem", tls / "device.key"),
    )
    agent.start()
    until(lambda: ledger.waiting() == 0, 30)
    agent.stop()
    ledger.close()
    revoked = shelfgate(
        *("hub", "provision", "revoke", "store-1/box-1"),
        *("--database", database, "--folder", str(folder)),
    )
    assert "1 certificates" in revoked.stdout
    threading.Event().wait(0.5)
    # Nothing that opens a door is in the log.
    log = (tmp_path / "hub.log").read_text()
    assert log.count("\n") > 3
    assert code not in log
    assert code.split("_")[2] not in log
    assert "PRIVATE KEY" not in log
    assert all(json.loads(line)["level"] for line in log.splitlines())


def test_the_commands_that_steer_a_fleet(tmp_path: Path) -> None:
    database = ("--database", str(tmp_path / "hub.db"))

    def hub(*arguments: str, fails: int = 0) -> str:
        done = CliRunner().invoke(hub_command, [*arguments, *database])
        assert done.exit_code == fails, done.output
        return done.stdout or done.stderr

    hub("migrate")
    assert hub("token", "create", "alice", "--role", "viewer").startswith("sgt_")
    (token,) = json.loads(hub("token", "list", "--json"))
    assert "digest" not in token
    hub("token", "revoke", token["id"])
    hub("site", "put", "store-1", "Main street")
    hub("device", "label", "store-1/box-1", "pilot")
    hub("group", "put", "first", "store-1/box-1")
    hub("bundle", "register", "fruit 2")
    started = json.loads(hub("rollout", "start", "fruit 2", "--label", "pilot", "--json"))
    assert (started["state"], started["devices"]) == ("running", 1)
    hub("rollout", "pause", started["id"])
    assert "is paused" in hub("rollout", "show", started["id"])
    hub("rollout", "rollback", started["id"], "--reason", "no")
    assert "rolled_back" in hub("rollout", "watch", started["id"], fails=1)
    hub("rollout", "resume", started["id"], fails=2)
    hub("device", "label", "nonsense", "pilot", fails=2)
    actions = [one["action"] for one in json.loads(hub("audit", "--json"))]
    assert len(actions) == 9
    assert "at the command line" in hub("audit", "--json")
