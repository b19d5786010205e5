"""Neither end gives the other more at a time than it has said it takes."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.ingest import BATCH_MOST, Ingest
from cloud_sync.hub.store import Store
from cloud_sync.messages import Reply
from cloud_sync.mqtt import make_client
from cloud_sync.topics import Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import an_event, book, until

MOST = 12
KEPT_FREE = 4
"""For telemetry, state and answers."""


def test_a_box_has_no_more_under_way_than_its_broker_takes(tmp_path: Path) -> None:
    topic = Address("store-1", "box-1").topic(Channel.EVENTS)
    heard: list[str] = []
    ready: list[int] = []
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    ledger.open_session("anna", 0.0)
    for number in range(100):
        book(ledger, an_event(f"e{number}"))
    with Broker(receive_maximum=MOST) as broker:
        tap = make_client("tap")
        tap.on_connect = lambda *_: tap.subscribe(topic, qos=0)
        tap.on_subscribe = lambda *_: ready.append(1)
        tap.on_message = lambda _, __, message: heard.append(message.topic)
        assert tap.connect(broker.host, broker.port) == paho.MQTT_ERR_SUCCESS
        tap.loop_start()
        until(lambda: bool(ready))
        agent = Agent(
            tmp_path / "ledger.db", broker.host, broker.port, "box-1", "store-1",
            lambda _: Reply(ok=True), resend_after_s=30.0,
        )  # fmt: skip
        agent.start()
        until(lambda: len(heard) == MOST - KEPT_FREE)
        time.sleep(1.0)
        assert len(heard) == MOST - KEPT_FREE, "nobody acknowledges them"
        agent.stop()
        tap.disconnect()
        tap.loop_stop()
    ledger.close()


def test_a_worker_tells_the_broker_how_much_it_has_room_for(tmp_path: Path) -> None:
    """Read from its first bytes on the line."""
    engine = open_database(str(tmp_path / "hub.db"))
    migrate(engine)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = Ingest(Store(engine), "127.0.0.1", listener.getsockname()[1])
        worker.start()
        line, _ = listener.accept()
        with line:
            packet = line.recv(4_096)
        worker.stop()
    engine.dispose()
    # MQTT 5, 3.1: type, length (one byte here), name, version, flags, keep alive, properties.
    assert packet[0] >> 4 == 1
    assert packet[2:9] == b"\x00\x04MQTT\x05"
    said = Properties(PacketTypes.CONNECT)
    said.unpack(packet[12:])
    assert said.ReceiveMaximum == 2 * BATCH_MOST
    assert said.SessionExpiryInterval == 0
