"""No secret stands in a box's log: a real `shelfgate run` that speaks to broker, hub and cameras.

It is enrolled, has cameras with passwords, takes a signed bundle, is told things by a hub that hold
what must not be written down, and is started with a key that cannot be used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_sync.broker import free_port
from cloud_sync.hub.assign import assign
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.messages import OpenSession, encode
from cloud_sync.topics import Address, Channel
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import COMMAND, ROOT, until
from tests.cloud_sync.a_shop import Peer, Provisioned
from tests.edge.mjpeg_camera import MjpegCamera

pytestmark = pytest.mark.slow

BOX = Address("store-1", "box-1")
PASSWORD, KEY = "Cam-hunter2-word", "Cam-key-9471"
TOKEN = "sgt_0123456789ab_" + "T" * 43
CODE = "sgc_01234567_" + "c0de" * 8 + "_" + "f" * 32
WORDS = {"password": "Hub-word-1234"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Provisioned]:
    (tmp_path / "shop").mkdir()
    running = Provisioned(tmp_path / "shop")
    yield running
    running.stop()


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    one = MjpegCamera()
    yield one
    one.close()


def written(folder: Path, shop: Provisioned, camera: MjpegCamera, packaged: Path) -> Path:
    """An edge.toml with every kind of secret in it that a box can have."""
    tls = folder / "tls"
    tls.mkdir(parents=True)
    for name, path in zip(("ca.pem", "device.pem", "device.key"), files(shop), strict=True):
        (tls / name).write_bytes(path.read_bytes())
    alive = camera.address.replace("//", f"//keeper:{PASSWORD}@") + f"?apikey={KEY}"
    dead = f"//keeper:{PASSWORD}@127.0.0.1:{free_port()}/stream?apikey={KEY}"
    config = folder / "edge.toml"
    config.write_text(
        f"""
[device]
id = "{BOX.device}"
site = "{BOX.site}"
state_dir = "state"
[bundle]
path = "{packaged}"
root = "root.json"
[detector]
enabled = false
[sync]
enabled = true
port = {shop.port}
tls_dir = "tls"
[status]
port = 0
[[camera]]
id = "alive"
source = "{alive}"
[[camera]]
id = "dead"
source = "http:{dead}"
[[camera]]
id = "dead-too"
source = "rtsp:{dead}"
"""
    )
    return config


def files(shop: Provisioned) -> tuple[Path, Path, Path]:
    certificates = shop.box(BOX)
    return certificates.ca, certificates.certificate, certificates.key


def start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", "--config", str(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=log.open("ab"),
        stderr=subprocess.STDOUT,
    )


def tell(shop: Provisioned) -> None:
    """A hub says what no hub should: secrets where a name belongs, readable and not."""
    peer = Peer(shop.hub_port, shop.hub, "a-hub")
    commands, desired = BOX.topic(Channel.COMMANDS), BOX.topic(Channel.DESIRED)
    odd = f"{TOKEN} {CODE} password={WORDS['password']}"
    for topic in (commands, desired):
        assert peer.publishes(topic, json.dumps({"schema": 7, "type": odd}).encode())
    assert peer.publishes(BOX.topic(Channel.ACKS), f'{{"type": "{odd}"}}'.encode())
    assert peer.publishes(commands, encode(OpenSession(session="anna")))
    peer.close()


def lines_of_keys(folder: Path) -> set[str]:
    text = (folder / "tls" / "device.key").read_text()
    found = {line for line in text.splitlines() if len(line) > 20 and "PRIVATE" not in line}
    assert found
    return found


def test_no_secret_stands_in_a_boxs_log(
    shop: Provisioned, camera: MjpegCamera, keys: Keys, tmp_path: Path
) -> None:
    packaged, newer = (a_bundle(tmp_path, n, prices=100 + n) for n in (0, 1))
    repository = a_repository(tmp_path / "repository", keys)
    repository.push(newer, keys.two)
    hub = BrokerLine("127.0.0.1", shop.hub_port, shop.hub)
    server = BlockServer(repository, hub.host, hub.port, "1", hub.certificates)
    ingest = Ingest(Store(shop.engine), hub.host, hub.port, "1", hub.certificates)
    config, log = written(tmp_path / "box", shop, camera, packaged.path), tmp_path / "run.log"
    (tmp_path / "box" / "root.json").write_bytes((repository.folder / "root.json").read_bytes())
    server.start()
    ingest.start()
    box = start(config, log)
    try:
        until(lambda: b"connected to" in log.read_bytes(), 60)
        tell(shop)
        until(lambda: log.read_bytes().count(b"cannot read:") == 1, 20)
        assign(hub, [BOX], "drinks", 1)
        until(lambda: b"probation" in log.read_bytes(), 60)
        until(lambda: camera.logins != [] and camera.logins[0] is not None)
    finally:
        box.send_signal(signal.SIGTERM)
        code = box.wait(60)
        ingest.stop()
        server.stop()
    assert code == 0
    key = tmp_path / "box" / "tls" / "device.key"
    secrets = {*lines_of_keys(tmp_path / "box"), PASSWORD, KEY, *WORDS.values(), "PRIVATE KEY"}
    secrets |= {TOKEN.split("_")[2], CODE.split("_")[2]}
    key.write_text(key.read_text().replace("END", f"END {TOKEN}"))
    assert start(config, log).wait(60) == 2

    text = log.read_text(errors="replace")
    assert text.count("\n") > 8
    assert "no certificate that can be used" in text
    assert [line for line in text.splitlines() for one in secrets if one in line] == []
