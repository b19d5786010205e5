"""A broker set up as a shop's is, with certificates for everybody, and bare clients of it."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.subscribeoptions import SubscribeOptions
from sqlalchemy import Engine

from cloud_sync.broker import find_mosquitto, free_port
from cloud_sync.device.enrolment import _request
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority, write_key
from cloud_sync.hub.broker_setup import BrokerSetup
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.mqtt import Certificates, make_client
from cloud_sync.topics import Address
from tests.cloud_sync.a_device import until


class Provisioned:
    """A broker set up for real, and the authority behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine: Engine = open_database(str(folder / "hub.db"))
        migrate(self.engine)
        authority = Authority.make(folder / "broker")
        self.setup = BrokerSetup(folder / "broker", authority)
        self.port, self.hub_port = free_port(), free_port()
        self.setup.make(["127.0.0.1"], port=self.port, hub_port=self.hub_port)
        self.enrolments = Enrolments(self.engine, authority, self.changed)
        self.start()

    def changed(self) -> None:
        self.setup.follow(self.enrolments)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [find_mosquitto(), "-c", self.setup.folder / "mosquitto.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: (self.setup.folder / "mosquitto.pid").exists())
        time.sleep(0.2)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def box(self, address: Address, days: float = 1.0) -> Certificates:
        """Give a device a certificate."""
        folder = self.folder / f"{address.device}-{time.monotonic_ns()}"
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self.enrolments.certify(THE_HUB, address, _request(key), days)
        write_key(folder / "device.key", key)
        (folder / "device.pem").write_bytes(issued.pem)
        return Certificates(
            self.setup.folder / "ca.pem", folder / "device.pem", folder / "device.key"
        )

    def taken_over(self, name: str) -> list[str]:
        """What the broker's log says of sessions taken over from clients of such a name."""
        log = (self.setup.folder / "mosquitto.log").read_text()
        told = [one for one in log.splitlines() if "already connected, closing old" in one]
        return [one for one in told if name in one]

    @property
    def hub(self) -> Certificates:
        where = self.setup.folder
        return Certificates(where / "ca.pem", where / "hub.pem", where / "hub.key")


class Peer:
    """A bare client: what it may do is what the broker lets it. name: its client id as it is."""

    def __init__(self, port: int, certificates: Certificates | None, name: str = "peer") -> None:
        self.client = make_client(name)
        self.heard: list[tuple[str, bytes]] = []
        self.up = False
        self.refused = False
        self.granted: list[bool] = []
        self.published: list[bool] = []
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda c, u, m, reasons, p: self.granted.append(
            not any(one.is_failure for one in reasons)
        )
        self.client.on_publish = lambda c, u, m, reason, p: self.published.append(
            not reason.is_failure
        )
        self.client.on_message = lambda c, u, m: self.heard.append((m.topic, bytes(m.payload)))
        if certificates is not None:
            self.client.tls_set_context(certificates.context())
        try:
            self.client.connect("127.0.0.1", port)
            self.client.loop_start()
            until(lambda: self.up or self.refused, 3)
        except (OSError, ssl.SSLError, AssertionError):
            self.refused = True

    def _connected(
        self, client: paho.Client, _: object, __: object, reason: object, ___: object
    ) -> None:
        self.refused = bool(getattr(reason, "is_failure", True))
        self.up = not self.refused

    def publishes(self, topic: str, payload: bytes = b"x") -> bool:
        """Whether the broker takes a message."""
        before = len(self.published)
        self.client.publish(topic, payload, qos=1)
        until(lambda: len(self.published) > before, 5)
        return self.published[-1]

    def subscribes(self, topic: str) -> bool:
        """Whether the broker grants a subscription."""
        before = len(self.granted)
        self.client.subscribe([(topic, SubscribeOptions(qos=1))])
        until(lambda: len(self.granted) > before, 5)
        return self.granted[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
