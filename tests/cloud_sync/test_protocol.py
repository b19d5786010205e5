"""The protocol as it is published, and what really crosses a broker, are the same."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema_rs
import msgspec
import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.blocks import Block, BlockAsk
from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.device.enrolment import _request
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.hub.renewals import RenewalDesk, Renewals
from cloud_sync.messages import AnyMessage, Reply
from cloud_sync.mqtt import make_client
from cloud_sync.protocol import CARRIES, PACKED, json_schema
from cloud_sync.renewal import RenewalAsk, Renewed, encode_renewal
from cloud_sync.topics import Address, Channel, parse
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import HubProcess, book_with_pictures, until


def validator(channel: Channel, schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """What holds a payload against the schema of its channel."""
    where = {"$ref": f"#/$defs/channel:{channel.value}", "$defs": schema["$defs"]}
    return jsonschema_rs.Draft202012Validator(where)


def as_json(channel: Channel, payload: bytes) -> Any:
    """A payload as JSON has it."""
    if channel in PACKED:
        return msgspec.to_builtins(msgspec.msgpack.decode(payload))
    return json.loads(payload)


@pytest.fixture
def published(repository: Path) -> dict[str, Any]:
    """The schema that is checked in."""
    kept: dict[str, Any] = json.loads((repository / "docs" / "protocol.schema.json").read_text())
    return kept


def test_the_schema_that_is_checked_in_is_that_of_the_messages(published: dict[str, Any]) -> None:
    assert published == json.loads(json.dumps(json_schema())), (
        "python -m cloud_sync.protocol > docs/protocol.schema.json"
    )


def test_every_message_has_a_channel_and_every_channel_its_messages() -> None:
    carried = {kind for kinds in CARRIES.values() for kind in kinds}
    assert carried == {*get_args(AnyMessage), BlockAsk, Block, RenewalAsk, Renewed}
    assert set(CARRIES) == set(Channel)


def test_the_description_names_every_message_beside_its_channel(repository: Path) -> None:
    rows = (repository / "docs" / "protocol.md").read_text().splitlines()
    for channel, kinds in CARRIES.items():
        (row,) = (one for one in rows if one.startswith(f"| `{channel.value}` |"))
        for kind in kinds:
            assert f"`{kind.__name__}`" in row, (channel, kind)
    text = "\n".join(rows)
    assert "`BundleMeasures`" in text


@pytest.mark.parametrize(
    ("channel", "wrong"),
    [
        (Channel.BLOCKS, {"type": "block", "file": "../x", "number": 0, "size": 1024, "total": 1}),
        (Channel.ASKS, {"type": "block_ask", "file": "0" * 64, "size": 1024, "numbers": []}),
        (Channel.EVENTS, {"type": "ack", "ledger": "l", "ranges": []}),
        (Channel.COMMANDS, {"type": "open_session", "session": "a/b"}),
    ],
)
def test_the_schema_refuses_what_we_refuse(
    published: dict[str, Any], channel: Channel, wrong: dict[str, Any]
) -> None:
    assert not validator(channel, published).is_valid(wrong)


class Tap:
    """Hears everything of ours at a broker."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[Channel, bytes]] = []
        self._client = make_client(f"tap-{uuid.uuid4().hex}")
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe("shelfgate/v1/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _hear(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((parse(message.topic)[1], bytes(message.payload)))

    @property
    def channels(self) -> set[Channel]:
        return {channel for channel, _ in self.heard}

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def tap(broker: Broker) -> Iterator[Tap]:
    one = Tap(broker.port)
    yield one
    one.stop()


def dark_for_a_while(folder: Path, name: str) -> None:
    """The box runs where no broker is, and remembers it."""
    with Broker() as gone:
        pass
    ledger = folder / "ledger.db"
    agent = Agent(ledger, gone.host, gone.port, name, "store-1", lambda _: Reply(ok=True))
    agent.start()
    time.sleep(1.0)
    agent.stop()


def ask_for_renewal(folder: Path, broker: Broker, tap: Tap, address: Address) -> None:
    """A box asks a hub's desk; here without the TLS that this broker does not speak."""
    engine = open_database(str(folder / "desk.db"))
    migrate(engine)
    enrolments = Enrolments(engine, Authority.make(folder / "authority"))
    key = ec.generate_private_key(ec.SECP256R1())
    issued = enrolments.certify(THE_HUB, address, _request(key), 1.0)
    ask = RenewalAsk(certificate=issued.pem.decode(), request=_request(key).decode())
    renewals = Renewals(engine, enrolments, clock=lambda: time.time() + 80_000)
    desk = RenewalDesk(renewals, broker.host, broker.port)
    desk.start()
    until(lambda: desk.problem is None)
    client = make_client(f"asking-{uuid.uuid4().hex}")
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish(address.topic(Channel.RENEWALS), encode_renewal(ask), qos=1)
    until(lambda: Channel.CERTIFICATES in tap.channels)
    client.disconnect()
    client.loop_stop()
    desk.stop()


@pytest.mark.slow
def test_whatever_crosses_the_broker_is_as_published(
    tap: Tap, hub: HubProcess, broker: Broker, keys: Keys, tmp_path: Path,
    published: dict[str, Any],
) -> None:  # fmt: skip
    packaged, newer = (a_bundle(tmp_path, n, prices=100 + n) for n in (0, 1))
    repository = a_repository(tmp_path / "repository", keys)
    repository.push(newer, keys.two)
    server = BlockServer(repository, broker.host, broker.port)
    server.start()
    name, folder = "box-p", tmp_path / "box"
    dark_for_a_while(folder, name)
    ask_for_renewal(tmp_path, broker, tap, Address("store-1", name))
    root = (repository.folder / "root.json").read_bytes()
    box = Box(folder, broker.port, root, packaged.path, name=name)
    try:
        box.ledger.open_session("anna", 0.0)
        book_with_pictures(box.ledger, folder, "unsure")
        box.want(1)
        box.comes_to("probation", 1)
        asked = {"site": "store-1", "device": name, "item": "unsure", "sku": None, "session": None}
        assert httpx.post(f"{hub.url}/reviews/settle", json=asked, timeout=20.0).json()["ok"]
        box.ledger.close_session("anna", 9.0)
        until(lambda: box.ledger.waiting() == 0 and tap.channels == set(Channel), 40)
    finally:
        box.stop()
        server.stop()
    wrong = [
        (channel, error.message)
        for channel, payload in tap.heard
        for error in validator(channel, published).iter_errors(as_json(channel, payload))
    ]
    assert wrong == []
