"""An appliance whose certificate ends soon: a served hub renews it, and the store goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_sync.broker import find_mosquitto, free_port
from edge.appliance import Appliance
from edge.config import load
from tests.cloud_sync.a_bundle import a_bundle
from tests.cloud_sync.a_device import COMMAND, ROOT, until
from tests.edge.bottles import a_config
from tests.edge.mjpeg_camera import MjpegCamera

LIFE_S = 30.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class ServedHub:
    """A broker as `hub provision` sets it up, and `hub serve --authority` beside it."""

    def __init__(self, folder: Path) -> None:
        self.broker, self._database = folder / "broker", str(folder / "hub.db")
        self.port, hub_port = free_port(), free_port()
        where = ("--folder", str(self.broker))
        ports = ("--port", str(self.port), "--hub-port", str(hub_port))
        self._does("provision", "broker", "--host", "127.0.0.1", *where, *ports)
        self._processes = [
            subprocess.Popen([find_mosquitto(), "-c", self.broker / "mosquitto.conf"])
        ]
        line = ("--broker-port", str(hub_port), "--broker-ca", str(self.broker / "ca.pem"))
        line += ("--broker-cert", str(self.broker / "hub.pem"))
        line += ("--broker-key", str(self.broker / "hub.key"), "--authority", str(self.broker))
        serve = ("serve", "--migrate", "--open", "--json", "--port", "0", *line)
        pictures = ("--evidence", str(folder / "pictures"), "--database", self._database)
        hub = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "hub", *serve, *pictures],
            cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._processes.append(hub)
        assert hub.stdout is not None
        self.url = json.loads(hub.stdout.readline())["api"]

    def lets_in(self, address: str, out: Path, seconds: float) -> None:
        """Give a box a certificate for so long."""
        days = ("--days", str(seconds / 86_400), "--out", str(out))
        where = ("--folder", str(self.broker), "--database", self._database)
        self._does("provision", "device", address, *days, *where)

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=10.0).raise_for_status().json()

    def stop(self) -> None:
        for one in reversed(self._processes):
            one.terminate()
            one.wait(20)

    def _does(self, *arguments: str) -> None:
        command = [sys.executable, "-c", COMMAND, "hub", *arguments]
        subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ServedHub]:
    running = ServedHub(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    one = MjpegCamera()
    yield one
    one.close()


@pytest.mark.slow
def test_the_certificate_is_renewed_before_it_ends_and_nothing_stops(
    hub: ServedHub, camera: MjpegCamera, tmp_path: Path
) -> None:
    bundle, tls = a_bundle(tmp_path).path, tmp_path / "tls"
    hub.lets_in("store-1/box-1", tls, LIFE_S)
    end = time.time() + LIFE_S
    config = load(a_config(tmp_path, camera.address, bundle, broker_port=hub.port, tls_dir=tls))
    appliance = Appliance(config)

    def sync() -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(appliance.page.url + "api/state").json()["sync"]
        return found

    try:
        appliance.start()
        until(lambda: sync()["link"] == "up")
        first = sync()["certificate_until"]
        assert abs(first - end) < 5
        until(lambda: sync()["certificate_until"] > first, LIFE_S)
        assert time.time() < end, "well before"
        until(lambda: time.time() > end + 1, LIFE_S)
        appliance.storefront.open_session("anna")
        assert appliance.wait_until_synced(20)
        assert [one["session"] for one in hub.get("/carts")] == ["anna"]
        assert sync()["link"] == "up"
        assert hub.get("/devices/store-1/box-1")["certificate_until"] > end + 5
        actions = [one["action"] for one in hub.get("/audit")]
        assert "device.renew" in actions
    finally:
        appliance.stop()
