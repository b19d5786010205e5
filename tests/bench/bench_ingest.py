"""How fast events reach the hub's database, beside what the broker moves with nothing behind it.

Both in one run on one machine with the same payloads: two bare MQTT clients (one publishes at
QoS 1 with a window, one receives), and a publisher whose every event the hub commits and
acknowledges. And how soon a picture that a box has sent is to be had by the API. Called by
`shelfgate bench ingest`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from cloud_sync.broker import Broker
from cloud_sync.messages import Ack, Evidence, ItemBooked, Provenance, decode_as, encode
from cloud_sync.mqtt import make_client
from cloud_sync.topics import Address, Channel
from tests.cloud_sync.a_database import Postgres, programs

ADDRESS = Address("bench", "box-1")
PICTURED = Address("bench", "box-2")
WINDOW = 1_000
RATIO, SCALE, CORES = 0.4, 1.6, 5
SHOWN_S = 1.0
PICTURES, PICTURE_BYTES = 20, 120_000
ROOT = Path(__file__).parents[2]

RECEIVER = """
import sys, threading
from cloud_sync.mqtt import make_client
port, missing = int(sys.argv[1]), int(sys.argv[2])
def count(*_):
    global missing
    missing -= 1
    if missing == 0:
        print("all there", flush=True)
client = make_client("bench-receiver")
client.on_message = count
client.on_connect = lambda *_: client.subscribe("bench/bare", qos=1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.connect("127.0.0.1", port)
client.loop_forever()
"""
"""The receiving half of the bare pair, in a process of its own as the hub is."""


def run(events: int = 10_000) -> dict[str, Any]:
    """Measure; events: how many of each.

    Gives events per second of the bare pair (published to received) and of hubs (published to
    acknowledged after the commit): one worker on SQLite, and one and two on PostgreSQL where that
    is installed; and their ratios. evidence_shown_s: the longest that one of the pictures took from
    its publication until the API gave it out; _busy_s: while events come as fast as they can, which
    is a wait behind those at the broker too.
    """
    payloads = [encode(_item(number)) for number in range(1, events + 1)]
    with Broker() as broker:
        bare = events / _bare_pair(broker, payloads)
    figures: dict[str, Any] = {"events": events, "bare_events_per_s": round(bare, 1)}
    with tempfile.TemporaryDirectory(prefix="shelfgate-bench-") as folder:
        sqlite = _hub_per_s(payloads, str(Path(folder) / "hub.db"), Path(folder), 1)
        figures["hub_events_per_s"] = round(sqlite, 1)
        figures["ratio"] = round(sqlite / bare, 3)
        quiet, busy = _evidence_shown_s(payloads, Path(folder))
        figures["evidence_shown_s"] = round(quiet, 3)
        figures["evidence_shown_busy_s"] = round(busy, 3)
        if programs() is not None:
            one, two = (_on_postgres(payloads, Path(folder), workers) for workers in (1, 2))
            figures["postgres_1_worker_events_per_s"] = round(one, 1)
            figures["postgres_2_workers_events_per_s"] = round(two, 1)
            figures["postgres_ratio"] = round(one / bare, 3)
            figures["2_workers_over_1"] = round(two / one, 3)
    figures["short_of"] = _short_of(figures)
    return figures


def _short_of(figures: dict[str, Any]) -> list[str]:
    missed = []
    if figures["ratio"] < RATIO:
        missed.append(f"hub over bare clients {figures['ratio']}, wanted {RATIO}")
    if figures["evidence_shown_s"] > SHOWN_S:
        missed.append(f"evidence shown after {figures['evidence_shown_s']} s, wanted {SHOWN_S}")
    # Broker, publisher, database and two workers want a core each before more workers can show.
    cores = len(os.sched_getaffinity(0))
    if cores >= CORES and figures.get("2_workers_over_1", SCALE) < SCALE:
        missed.append(f"2 workers over 1 {figures['2_workers_over_1']}, wanted {SCALE}")
    return missed


def _on_postgres(payloads: list[bytes], folder: Path, workers: int) -> float:
    with Postgres() as database:
        return _hub_per_s(payloads, database.url, folder, workers)


def _hub_per_s(payloads: list[bytes], database: str, folder: Path, workers: int) -> float:
    with Broker() as broker:
        hub, _ = _start_hub(broker, database, folder, workers)
        try:
            return len(payloads) / _to_hub(broker, payloads)
        finally:
            hub.terminate()
            hub.wait()


def _evidence_shown_s(payloads: list[bytes], folder: Path) -> tuple[float, float]:
    """Give the longest that a picture took to be seen: of a quiet hub, and of one with events."""
    with Broker() as broker:
        hub, url = _start_hub(broker, str(folder / "pictures.db"), folder, 1)
        client = make_client("bench-pictures")
        _connect(client, broker)
        events = threading.Thread(target=_to_hub, args=(broker, payloads))
        try:
            quiet = max(_shown_s(client, url) for _ in range(PICTURES))
            events.start()
            busy = _shown_s(client, url)
            while events.is_alive():
                busy = max(busy, _shown_s(client, url))
            return quiet, busy
        finally:
            _leave(client)
            hub.terminate()
            hub.wait()


def _shown_s(client: paho.Client, url: str) -> float:
    """Publish a picture; give the seconds until its item has it and the API gives its bytes."""
    data = b"\xff\xd8\xff" + os.urandom(PICTURE_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    item = sha256[:16]
    payload = encode(Evidence(item=item, name=f"{item}/crop-0.jpg", sha256=sha256, data=data))
    begun = time.perf_counter()
    client.publish(PICTURED.topic(Channel.EVIDENCE), payload, qos=1)
    while _got(f"{url}/evidence?item={item}") == b"[]" or _got(f"{url}/evidence/{sha256}") != data:
        if time.perf_counter() - begun > 30.0:
            raise TimeoutError("a picture is not shown after 30 s")
        time.sleep(0.005)
    return time.perf_counter() - begun


def _got(url: str) -> bytes | None:
    """Ask the API; None where it answers with anything but 200."""
    try:
        with urllib.request.urlopen(url, timeout=10.0) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError:
        return None


def _bare_pair(broker: Broker, payloads: list[bytes]) -> float:
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(broker.port), str(len(payloads))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    receiver.stdout.readline()
    all_there = threading.Event()
    lines = receiver.stdout
    threading.Thread(target=lambda: (lines.readline(), all_there.set()), daemon=True).start()
    try:
        return _publish(broker, "bench/bare", payloads, all_there)
    finally:
        receiver.kill()
        receiver.wait()


def _to_hub(broker: Broker, payloads: list[bytes]) -> float:
    client, all_there = make_client("bench-acks"), threading.Event()
    missing = len(payloads)

    def acknowledged(_: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        nonlocal missing
        for first, last in decode_as(Ack, message.payload).ranges:
            missing -= last - first + 1
        if missing <= 0:
            all_there.set()

    client.on_message = acknowledged
    _connect(client, broker, ADDRESS.topic(Channel.ACKS))
    elapsed_s = _publish(broker, ADDRESS.topic(Channel.EVENTS), payloads, all_there)
    _leave(client)
    return elapsed_s


def _publish(
    broker: Broker, topic: str, payloads: Iterable[bytes], all_there: threading.Event
) -> float:
    """Publish with at most WINDOW under way to the broker; give the seconds until all is there."""
    publisher = make_client("bench-publisher")
    publisher.max_inflight_messages_set(WINDOW)
    _connect(publisher, broker)
    begun = time.perf_counter()
    for payload in payloads:
        publisher.publish(topic, payload, qos=1)
    if not all_there.wait(60.0):
        raise TimeoutError("not all events arrived within 60 s")
    elapsed_s = time.perf_counter() - begun
    _leave(publisher)
    return elapsed_s


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


def _start_hub(
    broker: Broker, database: str, folder: Path, workers: int
) -> tuple[subprocess.Popen[str], str]:
    """Start a hub and wait until it is ready; give its process and where its API is."""
    arguments = ["hub", "serve", "--migrate", "--open", "--json", "--port", "0"]
    arguments += ["--evidence", str(folder / "pictures")]
    arguments += ["--database", database, "--broker-port", str(broker.port)]
    arguments += ["--workers", str(workers)]
    hub = subprocess.Popen(
        [sys.executable, "-c", "from edge.cli import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert hub.stdout is not None
    url = json.loads(hub.stdout.readline())["api"]
    until = time.monotonic() + 60.0
    while not _is_ready(url):
        if time.monotonic() > until:
            hub.kill()
            raise TimeoutError("the hub is not ready after 60 s")
        time.sleep(0.05)
    return hub, url


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5.0):
            return True
    except OSError:
        return False


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
