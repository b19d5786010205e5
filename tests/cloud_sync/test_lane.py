"""Pictures go behind carts and bundles: a real box that fetches one, over a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device import lane
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.repository import Repository
from cloud_sync.mqtt import make_client
from cloud_sync.topics import Channel
from models.bundle import Bundle
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import HubProcess, book_with_pictures, until

RATE = 200_000.0
WEIGHTS = 300_000
"""Of a network that takes some seconds at that rate."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return [a_bundle(folder, n, weights=WEIGHTS + 960 * n) for n in (0, 1)]


@pytest.fixture
def repository(tmp_path: Path, bundles: list[Bundle]) -> Repository:
    keys = Keys(tmp_path / "keys")
    found = a_repository(tmp_path / "repository", keys)
    found.push(bundles[1], keys.two)
    return found


@pytest.fixture
def box(
    tmp_path: Path, broker: Broker, repository: Repository, bundles: list[Bundle]
) -> Iterator[Box]:
    root = (repository.folder / "root.json").read_bytes()
    one = Box(
        tmp_path / "box", broker.port, root, bundles[0].path, name=tmp_path.name, bytes_per_s=RATE
    )
    one.ledger.open_session("anna", 0.0)
    yield one
    one.stop()


@pytest.fixture
def phases(box: Box, broker: Broker) -> Iterator[list[str]]:
    """What the box was at whenever a picture of it came by."""
    seen: list[str] = []
    client = make_client(f"{box.address.device}-watcher")
    client.on_message = lambda *_: seen.append(box.status.phase)
    heard = []
    client.on_connect = lambda *_: client.subscribe(box.address.topic(Channel.EVIDENCE), qos=1)
    client.on_subscribe = lambda *_: heard.append(1)
    assert client.connect(broker.host, broker.port) == paho.MQTT_ERR_SUCCESS
    client.loop_start()
    until(lambda: bool(heard))
    yield seen
    client.disconnect()
    client.loop_stop()


def test_a_picture_waits_for_the_bundle_that_is_fetched_and_a_cart_does_not(
    box: Box, broker: Broker, repository: Repository, hub: HubProcess, phases: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    server = BlockServer(repository, broker.host, broker.port, tmp_path.name)
    server.start()
    box.want(1)
    until(lambda: box.line.received_bytes > 0)
    book_with_pictures(box.ledger, tmp_path / "box", "unsure")
    until(lambda: box.ledger.waiting() == 0)
    assert box.status.phase == "fetching"
    until(lambda: bool(phases), 60)
    server.stop()
    assert "fetching" not in phases
    until(lambda: len(hub.get("/evidence", item="unsure", device=box.address.device)) == 1)


def test_a_bundle_of_which_nothing_comes_holds_no_picture_up(
    box: Box, hub: HubProcess, phases: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "STALLED_S", 0.5)
    box.want(1)
    until(lambda: box.status.phase == "fetching")
    book_with_pictures(box.ledger, tmp_path / "box", "unsure")
    until(lambda: bool(phases))
    assert phases[0] == "fetching"
