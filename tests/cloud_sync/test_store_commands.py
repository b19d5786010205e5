"""Reviews, pictures and unread messages by the commands a person types, at a real hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.hub.commands import hub as hub_command
from cloud_sync.messages import Command, Reply, SettleItem
from cloud_sync.mqtt import make_client
from cloud_sync.topics import Address, Channel
from edge.ledger import Ledger, LedgerError
from tests.cloud_sync.a_device import HubProcess, a_jpeg, book_with_pictures, until

BOX = Address("store-1", "box-c")
NONE = "0" * 64


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker of a test's own: what is listed is what this test made."""
    with Broker() as running:
        yield running


@pytest.fixture
def hub(broker: Broker, tmp_path: Path) -> Iterator[HubProcess]:
    running = HubProcess(str(tmp_path / "hub.db"), broker.port, tmp_path / "hub.log")
    yield running
    running.stop()


class Box:
    """A box's ledger and agent; it settles what it is told to, as a box does."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.ledger = Ledger(folder / "ledger.db", BOX.device)
        self.agent = Agent(
            folder / "ledger.db", broker.host, broker.port, BOX.device, BOX.site, self.obey
        )
        self.agent.start()

    def obey(self, command: Command) -> Reply:
        assert isinstance(command, SettleItem)
        try:
            self.ledger.settle(
                command.item, command.sku, command.session,
                price_minor=150 if command.sku else None, currency="EUR" if command.sku else None,
                by=command.by,
            )  # fmt: skip
        except LedgerError as error:
            return Reply(ok=False, detail=str(error))
        return Reply(ok=True, detail="booked")

    def stop(self) -> None:
        self.agent.stop()
        self.ledger.close()


@pytest.fixture
def box(tmp_path: Path, broker: Broker) -> Iterator[Box]:
    one = Box(tmp_path / "box", broker)
    yield one
    one.stop()


class Typed:
    """`shelfgate hub ...` at one hub."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self._database = ("--database", str(folder / "hub.db"))
        self._pictures = ("--evidence", str(folder / "pictures"))
        self._broker = ("--broker-port", str(broker.port))

    def __call__(self, *arguments: str, fails: int = 0) -> Result:
        options: tuple[str, ...] = ()
        if arguments[:2] != ("evidence", "get"):
            options += self._database
        if arguments[0] == "evidence" and arguments[1] != "ask":
            options += self._pictures
        if arguments[1] in ("settle", "ask"):
            options += self._broker
        done = CliRunner().invoke(hub_command, [*arguments, *options])
        assert done.exit_code == fails, done.output
        return done

    def json(self, *arguments: str, fails: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", fails=fails).stdout)


@pytest.fixture
def typed(tmp_path: Path, broker: Broker, hub: HubProcess) -> Typed:
    return Typed(tmp_path, broker)


def test_a_review_is_listed_settled_and_gone(typed: Typed, box: Box, tmp_path: Path) -> None:
    for item in ("odd-1", "odd-2"):
        book_with_pictures(box.ledger, tmp_path / "box", item)
    box.ledger.open_session("anna", 0.0)
    until(lambda: {one["event_id"] for one in typed.json("review", "list")} == {"odd-1", "odd-2"})
    assert len(typed.json("review", "list", "--limit", "1")) == 1

    said = typed.json("review", "settle", str(BOX), "odd-1", "--sku", "cola", "--session", "anna")
    assert said == {"answered": True, "ok": True, "detail": "booked"}
    assert "booked" in typed("review", "settle", str(BOX), "odd-2", "--nothing").stdout
    until(lambda: typed.json("review", "list") == [])
    assert box.ledger.cart("anna").total_minor == 150
    rows = typed.json("audit", "--limit", "2")
    assert [one["action"] for one in rows] == ["review.settle", "review.settle"]
    assert rows[1]["detail"] == {"item": "odd-1", "sku": "cola", "session": "anna"}
    assert "at the command line" in rows[0]["who"]


def test_what_cannot_be_settled_is_said_by_the_box_and_by_exit_code(typed: Typed, box: Box) -> None:
    until(lambda: box.agent.state.up)
    asked = ("review", "settle", str(BOX), "never-was")
    refused = typed(*asked, "--nothing", "--json", fails=1)
    assert json.loads(refused.stdout)["ok"] is False
    assert refused.stderr.count("\n") == 1
    away = typed("review", "settle", "store-1/box-x", "e", "--nothing", fails=1)
    assert "the device does not answer" in away.stderr
    for wrong in (
        (), ("--sku", "cola"), ("--session", "anna"), ("--nothing", "--sku", "cola"),
        ("--sku", "cola", "--session", "a/b"),
    ):  # fmt: skip
        typed(*asked, *wrong, fails=2)
    typed("review", "settle", "no-address", "e", "--nothing", fails=2)
    assert len(typed.json("audit")) == 2, "what cannot be said is not written down"


def test_pictures_are_asked_for_listed_and_fetched(typed: Typed, box: Box, tmp_path: Path) -> None:
    box.ledger.open_session("anna", 0.0)
    book_with_pictures(box.ledger, tmp_path / "box", "sure", "cola")
    until(lambda: box.ledger.waiting() == 0)
    assert typed.json("evidence", "list", "sure") == []
    assert "on their way" in typed("evidence", "ask", str(BOX), "sure").stdout
    until(lambda: len(typed.json("evidence", "list", "sure")) == 1)
    (picture,) = typed.json("evidence", "list", "sure", "--device", str(BOX))
    assert (picture["name"], picture["device"]) == ("sure/crop-0.jpg", "box-c")
    assert typed.json("evidence", "list", "sure", "--device", "store-1/other") == []

    out = tmp_path / "crop.jpg"
    said = typed.json("evidence", "get", picture["sha256"], "--out", str(out))
    assert said == {"file": str(out), "size": len(a_jpeg())}
    assert out.read_bytes() == a_jpeg()
    for wrong in (NONE, "../../etc/passwd", picture["sha256"].upper(), ""):
        typed("evidence", "get", wrong, "--out", str(out), fails=2)
    typed("evidence", "get", picture["sha256"], "--out", str(tmp_path / "no" / "x"), fails=2)
    typed("evidence", "ask", str(BOX), "never-was", fails=1)


def test_what_the_hub_cannot_read_is_listed(typed: Typed, hub: HubProcess, broker: Broker) -> None:
    until(lambda: httpx.get(f"{hub.url}/readyz", timeout=10.0).is_success)
    client = make_client("a-box-of-tomorrow")
    client.connect(broker.host, broker.port)
    client.loop_start()
    for payload in (b'{"schema": 7, "type": "dance"}', b"noise"):
        client.publish(BOX.topic(Channel.EVENTS), payload, qos=1).wait_for_publish(5)
    until(lambda: len(typed.json("unread", "list")) == 2)
    first, second = typed.json("unread", "list")
    assert "schema 7, dance" in first["reason"]
    assert typed.json("unread", "list", "--after", str(first["number"])) == [second]
    assert len(typed.json("unread", "list", "--limit", "1")) == 1
    assert "shelfgate" in typed("unread", "list").stdout
    client.disconnect()
    client.loop_stop()


def test_a_broker_that_is_away_is_one_line(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_sync.hub.store_commands.CONNECTS_S", 0.5)
    with Broker() as gone:
        pass
    arguments = ["evidence", "ask", str(BOX), "e", "--database", str(tmp_path / "hub.db")]
    done = CliRunner().invoke(hub_command, [*arguments, "--broker-port", str(gone.port)])
    assert (done.exit_code, "does not answer" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "command",
    [
        "review list",
        "review settle",
        "evidence list",
        "evidence get",
        "evidence ask",
        "unread list",
    ],
)
def test_every_one_has_an_example_and_json(command: str) -> None:
    shown = CliRunner().invoke(hub_command, [*command.split(), "--help"]).stdout
    assert f"Example: shelfgate hub {command}" in " ".join(shown.split())
    assert "--json" in shown
