"""Device to hub and back, over a real broker, with a real hub process."""

from __future__ import annotations

import json
import queue
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import paho.mqtt.client as paho
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.messages import (
    CloseSession,
    Command,
    OpenSession,
    Reply,
    Telemetry,
    decode_as,
    encode,
)
from cloud_sync.mqtt import make_client, publish_properties
from cloud_sync.topics import Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess, an_event, book, until
from tests.faults.a_link import Link, Weather


class Device:
    """A ledger and its agent. port: where its line goes, the broker's own without it."""

    def __init__(
        self, folder: Path, broker: Broker, window: int = 256, port: int | None = None
    ) -> None:
        self.name = f"box-{uuid.uuid4().hex[:8]}"
        self.ledger = Ledger(folder / "ledger.db", self.name)
        self.address = Address("store-1", self.name)
        self.agent = Agent(
            folder / "ledger.db",
            broker.host,
            port or broker.port,
            self.name,
            "store-1",
            self.obey,
            window=window,
            resend_after_s=2.0,
        )

    def obey(self, command: Command) -> Reply:
        if isinstance(command, CloseSession):
            self.ledger.close_session(command.session, 9.0)
        elif not self.ledger.open_session(command.session, 0.0).is_open:
            return Reply(ok=False, detail="closed already")
        return Reply(ok=True)


@pytest.fixture
def device(tmp_path: Path, broker: Broker) -> Iterator[Device]:
    one = Device(tmp_path, broker)
    yield one
    one.agent.stop()
    one.ledger.close()


@pytest.fixture
def client(broker: Broker) -> Iterator[paho.Client]:
    client = make_client(f"test-{uuid.uuid4().hex}")
    client.connect(broker.host, broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def heard(client: paho.Client) -> Callable[[str], queue.Queue[paho.MQTTMessage]]:
    def listen(topic: str) -> queue.Queue[paho.MQTTMessage]:
        messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        subscribed = queue.Queue[int]()
        client.on_subscribe = lambda *_: subscribed.put(1)
        client.message_callback_add(topic, lambda _, __, message: messages.put(message))
        client.subscribe(topic, qos=1)
        subscribed.get(timeout=5)
        return messages

    return listen


def test_a_visit_becomes_a_cart_and_then_a_receipt_at_the_hub(
    device: Device, hub: HubProcess
) -> None:
    device.agent.start()
    device.ledger.open_session("anna", 0.0)
    for number in range(3):
        book(device.ledger, an_event(f"e{number}"))
    book(device.ledger, an_event("back", "return"))
    book(device.ledger, an_event("what", sku=None))
    until(lambda: device.ledger.waiting() == 0)
    cart = hub.get("/carts/anna", device=device.name)
    assert (cart["total_minor"], cart["currency"], cart["closed_at"]) == (300, "EUR", None)
    assert cart["lines"][0]["evidence"] == ["e0.jpg", "e1.jpg"]
    assert [one["reason"] for one in cart["reviews"]] == ["unsure"]
    assert any(one["device"] == device.name for one in hub.get("/carts"))
    device.ledger.close_session("anna", 5.0)
    until(lambda: device.ledger.waiting() == 0)
    receipts = [one for one in hub.get("/receipts") if one["device"] == device.name]
    assert [one["total_minor"] for one in receipts] == [300]


def test_more_than_a_window_goes_over_in_order_and_once(
    tmp_path: Path, broker: Broker, hub: HubProcess
) -> None:
    device = Device(tmp_path, broker, window=8)
    device.ledger.open_session("anna", 0.0)
    for number in range(200):
        book(device.ledger, an_event(f"e{number}"))
    device.agent.start()
    until(lambda: device.ledger.waiting() == 0)
    device.agent.stop()
    events = hub.get("/events", device=device.name, limit=1000)
    assert [one["entry"]["sequence"] for one in events] == list(range(1, 202))


def test_the_same_event_sent_again_is_one_line(
    device: Device, hub: HubProcess, client: paho.Client
) -> None:
    device.ledger.open_session("anna", 0.0)
    book(device.ledger, an_event("e1"))
    device.agent.start()
    until(lambda: device.ledger.waiting() == 0)
    first = hub.get("/events", device=device.name)
    entry = json.dumps(first[1]["entry"]).encode()
    for _ in range(5):
        client.publish(device.address.topic(Channel.EVENTS), entry, qos=1).wait_for_publish(5)
    book(device.ledger, an_event("e2"))
    until(lambda: device.ledger.waiting() == 0)
    assert hub.get("/carts/anna", device=device.name)["total_minor"] == 300
    assert len(hub.get("/events", device=device.name)) == 3


def test_what_the_hub_cannot_read_stops_nothing(
    device: Device,
    hub: HubProcess,
    client: paho.Client,
    heard: Callable[[str], queue.Queue[paho.MQTTMessage]],
) -> None:
    events = device.address.topic(Channel.EVENTS)
    acks = heard(device.address.topic(Channel.ACKS))
    for payload in (b"", b"\xff", b"[" * 5_000, encode(OpenSession(session="s"))):
        client.publish(events, payload, qos=1)
    client.publish("shelfgate/v1/store-1/bad name/events", b"{}", qos=1)
    newer = json.dumps({"schema": 2, "type": "new", "ledger": "l", "sequence": 7})
    client.publish(events, newer, qos=1)
    assert b"[[7,7]]" in acks.get(timeout=10).payload
    device.ledger.open_session("anna", 0.0)
    device.agent.start()
    until(lambda: device.ledger.waiting() == 0)


def test_commands_open_and_close_sessions_and_are_answered(
    device: Device,
    client: paho.Client,
    heard: Callable[[str], queue.Queue[paho.MQTTMessage]],
) -> None:
    device.agent.start()
    until(lambda: device.agent.state.up)
    replies = heard(f"gate/{device.name}")
    questions = [
        (encode(OpenSession(session="anna")), True),
        (encode(OpenSession(session="anna")), True),
        (encode(CloseSession(session="anna")), True),
        (encode(OpenSession(session="anna")), False),
        (encode(CloseSession(session="ben")), False),
        (b"open sesame", False),
    ]
    for number, (payload, is_fine) in enumerate(questions):
        client.publish(
            device.address.topic(Channel.COMMANDS),
            payload,
            qos=1,
            properties=publish_properties(
                response_topic=f"gate/{device.name}", correlation=bytes([number])
            ),
        )
        message = replies.get(timeout=5)
        assert message.properties.CorrelationData == bytes([number])
        assert decode_as(Reply, message.payload).ok is is_fine


@pytest.mark.slow
def test_entries_on_a_narrow_line_go_once(
    tmp_path: Path, broker: Broker, hub: HubProcess,
    heard: Callable[[str], queue.Queue[paho.MQTTMessage]],
) -> None:  # fmt: skip
    """What waits behind others on the line is not late; sent twice it would fill the line."""
    link = Link(broker.port)
    link.set(Weather(bytes_per_s=20_000))
    device = Device(tmp_path, broker, port=link.port)
    sent = heard(device.address.topic(Channel.EVENTS))
    device.ledger.open_session("anna", 0.0)
    for number in range(200):
        book(device.ledger, an_event(f"e{number}"))
    device.agent.start()
    until(lambda: device.ledger.waiting() == 0, 60)
    device.agent.stop()
    device.ledger.close()
    link.close()
    assert sent.qsize() < 210
    assert hub.totals(device.name) == {"anna": 200 * 150}


def test_the_hub_knows_which_devices_are_there(
    device: Device,
    hub: HubProcess,
    heard: Callable[[str], queue.Queue[paho.MQTTMessage]],
) -> None:
    def at_hub() -> list[bool]:
        return [one["online"] for one in hub.get("/devices") if one["device"] == device.name]

    device.agent.start()
    until(lambda: at_hub() == [True])
    device.agent.stop()
    until(lambda: at_hub() == [False])
    kept = heard(device.address.topic(Channel.TELEMETRY)).get(timeout=5)
    assert kept.retain
    assert not decode_as(Telemetry, kept.payload).online


def test_the_hub_is_not_ready_while_the_broker_is_away(tmp_path: Path) -> None:
    def ready() -> tuple[int, str]:
        answer = httpx.get(f"{hub.url}/readyz", timeout=10.0)
        return answer.status_code, answer.json()["problem"] or ""

    with Broker() as broker:
        hub = HubProcess(str(tmp_path / "hub.db"), broker.port, tmp_path / "hub.log")
        until(lambda: ready() == (200, ""))
        broker.stop()
        until(lambda: ready()[0] == 503)
        assert "broker" in ready()[1]
        assert hub.get("/healthz")["ok"]
        broker.start()
        until(lambda: ready() == (200, ""))
        hub.stop()


def test_an_agent_without_a_broker_waits_says_so_and_stops_at_once(tmp_path: Path) -> None:
    with Broker() as gone:
        pass
    device = Device(tmp_path, gone)
    device.ledger.open_session("anna", 0.0)
    device.agent.start()
    until(lambda: device.agent.state.problem == "the broker does not answer")
    until(lambda: device.agent.state.waiting == 1)
    assert not device.agent.state.up
    device.agent.stop()
    assert device.ledger.waiting() == 1


def test_without_a_hub_the_agent_says_so_and_keeps_everything(tmp_path: Path) -> None:
    with Broker() as lonely:
        device = Device(tmp_path, lonely)
        device.ledger.open_session("anna", 0.0)
        device.agent.start()
        until(lambda: device.agent.state.problem == "no hub listens at the broker")
        assert device.ledger.waiting() == 1
        device.agent.stop()
