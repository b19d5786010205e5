"""How fast events reach the hub's database, beside what the broker moves with nothing behind it.

Both in one run on one machine with the same payloads: two bare MQTT clients (one publishes at
QoS 1 with a window, one receives), and a publisher whose every event the hub commits and
acknowledges. Called by `shelfgate bench ingest`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import paho.mqtt.client as paho

from cloud_sync.broker import Broker
from cloud_sync.messages import Ack, ItemBooked, Provenance, decode_as, encode
from cloud_sync.mqtt import make_client
from cloud_sync.topics import Address, Channel

ADDRESS = Address("bench", "box-1")
WINDOW = 1_000
ROOT = Path(__file__).parents[2]


def run(events: int = 10_000) -> dict[str, float]:
    """Measure; events: how many of each.

    Gives events per second of the hub (published to acknowledged after the commit) and of the bare
    pair (published to received), and their ratio.
    """
    payloads = [encode(_item(number)) for number in range(1, events + 1)]
    with Broker() as broker, tempfile.TemporaryDirectory(prefix="shelfgate-bench-") as folder:
        bare_s = _bare_pair(broker, payloads)
        hub = _start_hub(broker, Path(folder))
        try:
            hub_s = _to_hub(broker, payloads)
        finally:
            hub.terminate()
            hub.wait()
    return {
        "events": events,
        "bare_events_per_s": round(events / bare_s, 1),
        "hub_events_per_s": round(events / hub_s, 1),
        "ratio": round(bare_s / hub_s, 3),
    }


def _bare_pair(broker: Broker, payloads: list[bytes]) -> float:
    receiver, arrived = make_client("bench-receiver"), threading.Semaphore(0)
    receiver.on_message = lambda *_: arrived.release()
    _connect(receiver, broker, "bench/bare")
    elapsed_s = _publish(broker, "bench/bare", payloads, arrived)
    _leave(receiver)
    return elapsed_s


def _to_hub(broker: Broker, payloads: list[bytes]) -> float:
    receiver, arrived = make_client("bench-acks"), threading.Semaphore(0)

    def acknowledged(_: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        for first, last in decode_as(Ack, message.payload).ranges:
            arrived.release(last - first + 1)

    receiver.on_message = acknowledged
    _connect(receiver, broker, ADDRESS.topic(Channel.ACKS))
    elapsed_s = _publish(broker, ADDRESS.topic(Channel.EVENTS), payloads, arrived)
    _leave(receiver)
    return elapsed_s


def _publish(
    broker: Broker, topic: str, payloads: Iterable[bytes], arrived: threading.Semaphore
) -> float:
    """Publish with at most WINDOW under way; give the seconds until all arrived."""
    publisher = make_client("bench-publisher")
    _connect(publisher, broker)
    under_way = 0
    begun = time.perf_counter()
    for payload in payloads:
        if under_way == WINDOW:
            _await(arrived)
            under_way -= 1
        publisher.publish(topic, payload, qos=1)
        under_way += 1
    for _ in range(under_way):
        _await(arrived)
    elapsed_s = time.perf_counter() - begun
    _leave(publisher)
    return elapsed_s


def _await(arrived: threading.Semaphore) -> None:
    if not arrived.acquire(timeout=30.0):
        raise TimeoutError("an event did not arrive within 30 s")


def _connect(client: paho.Client, broker: Broker, topic: str | None = None) -> None:
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set() if topic is None else client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    if not ready.wait(10.0):
        raise TimeoutError("the broker does not answer")


def _leave(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()


def _start_hub(broker: Broker, folder: Path) -> subprocess.Popen[str]:
    arguments = ["hub", "serve", "--migrate", "--json", "--port", "0"]
    arguments += ["--database", str(folder / "hub.db"), "--broker-port", str(broker.port)]
    hub = subprocess.Popen(
        [sys.executable, "-c", "from edge.cli import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert hub.stdout is not None
    json.loads(hub.stdout.readline())
    return hub


def _item(number: int) -> ItemBooked:
    return ItemBooked(
        event_id=f"bench-{number}",
        ledger="bench",
        sequence=number,
        recorded_at=0.0,
        kind="pick",
        session=f"visit-{number // 20}",
        attribution="only_session",
        sku="cola",
        quantity=1,
        decision="accept",
        distance=0.125,
        nearest=(),
        group="all",
        unit_price_minor=150,
        currency="EUR",
        time_s=float(number),
        decided_s=float(number),
        camera="cam-1",
        zone="shelf-1",
        box=(1.0, 2.0, 3.0, 4.0),
        evidence=("a.jpg", "b.jpg"),
        provenance=Provenance(bundle="b", bundle_version="1", model="m", table="t"),
    )


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
