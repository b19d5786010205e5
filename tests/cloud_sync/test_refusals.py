"""What a broker refuses or breaks off is said in the log, by everything that has a line to it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from cloud_sync.broker import Broker, find_mosquitto, free_port
from cloud_sync.device.agent import Agent
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.hub.assign import BrokerSilent, assign
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.messages import Reply
from cloud_sync.topics import Address
from edge.ledger import Ledger
from tests.cloud_sync.a_bundle import Keys, a_repository
from tests.cloud_sync.a_device import until

HOST = "127.0.0.1"
LIBRARIES = Path("/usr/lib")
PLUGIN = "mosquitto_dynamic_security.so"
RULES = {
    "defaultACLAccess": {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    }
}


class Line(Protocol):
    """What has a line to the broker."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class StrictBroker:
    """A mosquitto that grants nobody a subscription, which its plain access list cannot."""

    def __init__(self, folder: Path) -> None:
        plugin = next((one for at in ("", "*/") for one in LIBRARIES.glob(at + PLUGIN)), None)
        if plugin is None:
            pytest.skip(f"mosquitto came without {PLUGIN}")
        self.port = free_port()
        (folder / "rules.json").write_text(json.dumps(RULES))
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} {HOST}\n"
            "allow_anonymous true\n"
            f"plugin {plugin}\n"
            f"plugin_opt_config_file {folder}/rules.json\n"
            f"{'user root' if os.geteuid() == 0 else ''}\n"
        )
        self._process = subprocess.Popen(
            [find_mosquitto(), "-c", folder / "mosquitto.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[StrictBroker]:
    running = StrictBroker(tmp_path)
    yield running
    running.kill()


def test_a_box_that_is_stopped_while_its_line_breaks_ends_in_good_order(tmp_path: Path) -> None:
    with Broker() as broker:
        agent = an_agent(tmp_path, broker.port)
        agent.start()
        until(lambda: agent.state.up)
        # As if the line broke between its last look at what happens and its goodbye.
        agent._stopping.set()
        agent._thread.join()
        broker.kill()
        until(lambda: not agent._client.is_connected())
        agent.stop()
    assert agent.state.problem == "stopped"


def test_what_a_broker_that_falls_did_not_take_is_said_in_one_line(tmp_path: Path) -> None:
    with Broker() as broker:
        line = BrokerLine(broker.host, broker.port, None)
        with pytest.raises(BrokerSilent, match="does not take messages"):
            assign(line, [Address("s", "box-1")], "drinks", 1, before=lambda _: broker.kill())


def an_agent(folder: Path, port: int) -> Agent:
    Ledger(folder / "ledger.db", "box-1").close()
    return Agent(folder / "ledger.db", HOST, port, "box-1", "s", lambda _: Reply(ok=True))


def an_ingest(folder: Path, port: int) -> Line:
    engine = open_database(str(folder / "hub.db"))
    migrate(engine)
    return Ingest(Store(engine), HOST, port)


def a_block_server(folder: Path, port: int) -> Line:
    return BlockServer(a_repository(folder / "repository", Keys(folder)), HOST, port)


@pytest.mark.parametrize(
    ("make", "by"),
    [
        (an_agent, "agent"),
        (lambda _, port: BundleLine(Address("s", "box-1"), HOST, port), "bundle_line"),
        (an_ingest, "line"),
        (a_block_server, "line"),
        (lambda _, port: Courier(HOST, port, "1"), "line"),
    ],
    ids=["agent", "bundle line", "ingest", "block server", "courier"],
)
def test_a_subscription_that_is_refused_and_a_line_that_breaks_are_logged(
    strict: StrictBroker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path, int], Line],
    by: str,
) -> None:
    def told(level: int, words: str) -> bool:
        said = [one for one in caplog.records if one.name.endswith(f".{by}")]
        return any(one.levelno == level and words in one.getMessage() for one in said)

    caplog.set_level(logging.INFO)
    line = make(tmp_path, strict.port)
    line.start()
    until(lambda: told(logging.ERROR, "refuses our subscription: Not authorized"))
    strict.kill()
    is_device = by in ("agent", "bundle_line")
    until(lambda: told(logging.INFO if is_device else logging.WARNING, "broke: "))
    line.stop()
