"""Wishes, commands and what is newer than we are, over a real broker and a real hub."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.device.shadow import Shadow
from cloud_sync.hub.block_server import GROUP as BLOCKS
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.ingest import GROUP as INGEST
from cloud_sync.messages import (
    Command,
    Desired,
    OpenSession,
    Reply,
    SettleItem,
    encode,
)
from cloud_sync.mqtt import make_client
from cloud_sync.topics import FROM_DEVICE, Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess, a_jpeg, book_with_pictures, until

SITE = "store-1"


class Box:
    """A device's agent, which can be away; it remembers what it was told to do."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.name = f"box-{uuid.uuid4().hex[:8]}"
        self.address = Address(SITE, self.name)
        self.folder, self._broker = folder, broker
        self.ledger = Ledger(folder / "ledger.db", self.name)
        self.told: list[Command] = []
        self.wishes: list[Desired] = []
        self.agent: Agent | None = None

    def come(self) -> None:
        """Go online, as after a start of the box."""
        self.shadow = Shadow(self.folder / "desired.json", self.wishes.append)
        self.shadow.report(bundle="old 1")
        self.agent = Agent(
            self.folder / "ledger.db",
            self._broker.host,
            self._broker.port,
            self.name,
            SITE,
            self.obey,
            shadow=self.shadow,
            telemetry_s=0.5,
        )
        self.agent.start()
        until(lambda: self.agent is not None and self.agent.state.up)

    def go(self) -> None:
        """Go offline."""
        if self.agent is not None:
            self.agent.stop()
        self.agent = None

    def obey(self, command: Command) -> Reply:
        self.told.append(command)
        return Reply(ok=True, detail="done")


@pytest.fixture
def box(tmp_path: Path, broker: Broker) -> Iterator[Box]:
    one = Box(tmp_path, broker)
    yield one
    one.go()
    one.ledger.close()


@pytest.fixture
def client(broker: Broker) -> Iterator[paho.Client]:
    client = make_client(f"test-{uuid.uuid4().hex}")
    client.connect(broker.host, broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def wish(client: paho.Client, box: Box, version: int, bundle: str) -> None:
    payload = encode(Desired(version=version, bundle=bundle))
    topic = box.address.topic(Channel.DESIRED)
    client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)


def shadow_at(hub: HubProcess, box: Box) -> dict[str, Any]:
    view: dict[str, Any] = hub.get(f"/devices/{SITE}/{box.name}")["shadow"] or {}
    return view


def test_a_device_that_was_away_finds_the_newest_wish_and_keeps_it(
    box: Box, client: paho.Client
) -> None:
    wish(client, box, 1, "new 2")
    wish(client, box, 3, "new 4")
    box.come()
    until(lambda: [one.bundle for one in box.wishes] == ["new 4"])
    wish(client, box, 2, "new 3")
    wish(client, box, 4, "new 5")
    until(lambda: [one.bundle for one in box.wishes] == ["new 4", "new 5"])
    box.go()
    told: list[Desired] = []
    again = Shadow(box.folder / "desired.json", told.append)
    again.start()
    assert [one.bundle for one in told] == ["new 5"]
    assert again.reported.desired_version == 4


def test_what_a_device_says_of_itself_is_at_the_hub(box: Box, hub: HubProcess) -> None:
    box.come()
    until(lambda: box.name in json.dumps(hub.get("/devices", limit=1000)))
    until(lambda: shadow_at(hub, box).get("reported_bundle") == "old 1")
    box.shadow.report(state="failed", failed_bundle="new 2", detail="too slow")
    until(lambda: shadow_at(hub, box)["detail"] == "too slow")
    assert shadow_at(hub, box)["failed_bundle"] == "new 2"


def test_what_is_newer_than_the_device_is_kept_and_reported(
    box: Box, hub: HubProcess, client: paho.Client
) -> None:
    box.come()
    newer = {
        channel: json.dumps({"schema": 7, "type": "dance", "to": channel.value}).encode()
        for channel in (Channel.COMMANDS, Channel.DESIRED)
    }
    for count, (channel, payload) in enumerate(newer.items(), 1):
        client.publish(box.address.topic(channel), payload, qos=1).wait_for_publish(5)
        until(lambda count=count: shadow_at(hub, box).get("unread") == count)
    kept = [path.read_bytes() for path in (box.folder / "unread").iterdir()]
    assert sorted(kept) == sorted(newer.values())
    assert (box.told, box.wishes) == ([], [])


def test_a_person_at_the_hub_settles_an_item_and_is_told_what_came_of_it(
    box: Box, hub: HubProcess
) -> None:
    asked = {"site": SITE, "device": box.name, "item": "e1", "sku": "cola", "session": "anna"}
    box.come()
    answer = httpx.post(f"{hub.url}/reviews/settle", json=asked, timeout=20.0).json()
    assert answer == {"answered": True, "ok": True, "detail": "done"}
    (told,) = box.told
    assert isinstance(told, SettleItem)
    assert (told.item, told.sku, told.session) == ("e1", "cola", "anna")
    assert hub.get("/audit")[0]["action"] == "review.settle"


def test_a_command_that_nobody_took_in_time_is_gone(box: Box, broker: Broker) -> None:
    box.come()
    box.go()
    courier = Courier(broker.host, broker.port, "test")
    courier.start()
    until(lambda: courier.is_up)
    assert courier.ask(box.address, OpenSession(session="late"), 1.0) is None
    time.sleep(1.5)
    box.come()
    reply = courier.ask(box.address, OpenSession(session="now"), 5.0)
    assert reply == Reply(ok=True, detail="done")
    assert [one.session for one in box.told if isinstance(one, OpenSession)] == ["now"]
    courier.stop()


def test_the_protocol_lets_a_device_into_each_of_its_channels_at_any_broker(
    repository: Path,
) -> None:
    text = (repository / "docs" / "protocol.md").read_text()
    publishing, subscribing = text.partition("**EMQX**")[2].split("for publishing")
    subscribing, hub = subscribing.split("for subscribing")
    for channel in Channel:
        named = re.compile(rf"[`/]{channel.value}`")
        assert bool(named.search(publishing)) is (channel in FROM_DEVICE), channel
        assert bool(named.search(subscribing)) is (channel not in FROM_DEVICE), channel
    for group in (INGEST, BLOCKS):
        assert f"`$share/{group}/shelfgate/v1/#`" in hub


def test_crops_of_a_review_come_by_themselves_and_others_when_asked_for(
    box: Box, hub: HubProcess, tmp_path: Path
) -> None:
    def at_hub(item: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = hub.get("/evidence", item=item, device=box.name, site=SITE)
        return found

    box.ledger.open_session("anna", 0.0)
    book_with_pictures(box.ledger, tmp_path, "sure", "cola")
    book_with_pictures(box.ledger, tmp_path, "unsure")
    box.come()
    until(lambda: len(at_hub("unsure")) == 1)
    (picture,) = at_hub("unsure")
    assert picture["name"] == "unsure/crop-0.jpg"
    answer = httpx.get(f"{hub.url}/evidence/{picture['sha256']}")
    assert (answer.content, answer.headers["content-type"]) == (a_jpeg(), "image/jpeg")
    assert at_hub("sure") == []
    asked = {"site": SITE, "device": box.name, "item": "sure"}
    assert httpx.post(f"{hub.url}/evidence", json=asked, timeout=20.0).json()["ok"]
    until(lambda: len(at_hub("sure")) == 1)
    assert not httpx.post(
        f"{hub.url}/evidence", json={**asked, "item": "never"}, timeout=20.0
    ).json()["ok"]


def test_a_dark_time_is_told_afterwards(tmp_path: Path, hub: HubProcess, broker: Broker) -> None:
    with Broker() as other:
        pass
    box = Box(tmp_path, other)
    agent = Agent(
        tmp_path / "ledger.db", other.host, other.port, box.name, SITE, box.obey, telemetry_s=0.3
    )
    agent.start()
    time.sleep(2.0)
    agent.stop()
    box._broker = broker
    box.come()
    log: Callable[[], list[dict[str, Any]]] = lambda: hub.get(f"/devices/{SITE}/{box.name}/log")  # noqa: E731
    until(lambda: len(log()) >= 2)
    assert "does not answer" in log()[0]["problem"]
    box.go()
    box.ledger.close()
