"""What travels between boxes and hub: every message read back, and nothing strange believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_sync.messages import (
    MAX_PAYLOAD,
    Ack,
    MessageError,
    OpenSession,
    SessionOpened,
    Telemetry,
    Unread,
    decode,
    decode_as,
    encode,
)
from cloud_sync.topics import Address, Channel, every_device, parse
from tests.edge.test_cart import an_item

OPENED = SessionOpened(
    event_id="s/opened", ledger="l", sequence=1, recorded_at=1.0, session="s", at_s=0.5
)


@pytest.mark.parametrize(
    "message",
    [
        OPENED,
        an_item(3),
        Ack(ledger="l", ranges=((1, 4), (6, 6))),
        Telemetry(online=True, at=1.0, ledger="l"),
        OpenSession(session="s"),
    ],
)
def test_what_is_sent_is_what_is_read(message: SessionOpened) -> None:
    assert decode(encode(message)) == message


def test_a_newer_schema_is_kept_as_it_came() -> None:
    payload = json.dumps(
        {"schema": 9, "type": "dreamt", "ledger": "l", "sequence": 4, "more": [1]}
    ).encode()
    message = decode(payload)
    assert isinstance(message, Unread)
    assert (message.head.schema, message.head.sequence, message.raw) == (9, 4, payload)
    with pytest.raises(MessageError, match="newer"):
        decode_as(Ack, payload)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 0),
        ("sequence", 0),
        ("quantity", 0),
        ("quantity", 1.5),
        ("unit_price_minor", -1),
        ("unit_price_minor", 1.5),
        ("distance", 2.5),
        ("session", "a/b"),
        ("session", "a\n"),
        ("kind", "steal"),
        ("currency", "euro"),
        ("time_s", None),
        ("evidence", ["../../etc/passwd"]),
        ("evidence", ["/etc/passwd"]),
        ("box", [1, 2, 3]),
        ("type", "item2"),
    ],
)
def test_a_wrong_field_is_refused(field: str, value: object) -> None:
    fields = json.loads(encode(an_item(3)))
    with pytest.raises(MessageError):
        decode(json.dumps({**fields, field: value}).encode())


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        decode(payload)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_message_is_read_or_refused(place: int, byte: int) -> None:
    payload = bytearray(encode(an_item(3)))
    payload[place % len(payload)] = byte
    try:
        decode(bytes(payload))
    except MessageError:
        return


def test_long_and_deep_payloads_are_refused() -> None:
    with pytest.raises(MessageError, match="longer"):
        decode(b" " * (MAX_PAYLOAD + 1))
    for payload in (b"[" * 100_000, b'{"schema":1,"type":"item","x":' + b"[" * 100_000):
        with pytest.raises(MessageError):
            decode(payload)


def test_what_cannot_be_read_is_not_sent() -> None:
    with pytest.raises(MessageError, match="cannot be sent"):
        encode(OpenSession(session="a/b"))


def test_topics_name_one_device_and_are_read_back() -> None:
    address = Address("store-1", "box-1")
    topic = address.topic(Channel.EVENTS)
    assert topic == "shelfgate/v1/store-1/box-1/events"
    assert parse(topic) == (address, Channel.EVENTS)
    assert every_device(Channel.EVENTS, shared_by="hub") == "$share/hub/shelfgate/v1/+/+/events"


@pytest.mark.parametrize("name", ["", "+", "#", "a/b", "a b", "$SYS", "a\0", "-a", "a" * 101, "ä"])
def test_a_name_that_could_reach_other_topics_is_none(name: str) -> None:
    with pytest.raises(MessageError):
        Address(name, "box-1")
    with pytest.raises(MessageError):
        parse(f"shelfgate/v1/store-1/{name}/events")


@pytest.mark.parametrize("topic", ["", "x", "shelfgate/v2/a/b/events", "shelfgate/v1/a/b/other"])
def test_other_topics_are_none_of_ours(topic: str) -> None:
    with pytest.raises(MessageError):
        parse(topic)
