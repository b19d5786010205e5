"""Nobody gets in: certificates, one's own topics, and codes that work once; on a real mosquitto."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from paho.mqtt.subscribeoptions import SubscribeOptions
from sqlalchemy import Engine

from cloud_sync.broker import find_mosquitto, free_port
from cloud_sync.device.agent import Agent
from cloud_sync.device.enrolment import EnrolmentError, _request, enrol
from cloud_sync.hub.app import create_app
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority, AuthorityError, write_key
from cloud_sync.hub.broker_setup import BrokerSetup, access_list
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.enrolments import EnrolmentRefused, Enrolments
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.messages import Reply
from cloud_sync.mqtt import Certificates, make_client
from cloud_sync.topics import FROM_DEVICE, Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import until

BOX = Address("store-1", "box-1")
OTHER = Address("store-1", "box-2")


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
        self.setup.let_in(self.enrolments.certified(), self.enrolments.revoked())

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

    @property
    def hub(self) -> Certificates:
        where = self.setup.folder
        return Certificates(where / "ca.pem", where / "hub.pem", where / "hub.key")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    running = Provisioned(tmp_path_factory.mktemp("shop"))
    yield running
    running.stop()


class Peer:
    """A bare client: what it may do is what the broker lets it."""

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
            certificates.use_for(self.client)
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


@pytest.fixture
def peer(shop: Provisioned) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(
        certificates: Certificates | None, port: int | None = None, name: str = "peer"
    ) -> Peer:
        peers.append(Peer(port or shop.port, certificates, name))
        return peers[-1]

    yield make
    for one in peers:
        one.close()


def test_without_a_certificate_nobody_connects(
    shop: Provisioned, peer: Callable[..., Peer], tmp_path: Path
) -> None:
    stranger = Authority.make(tmp_path / "other")
    issued, key = stranger.issue(str(BOX))
    write_key(tmp_path / "key", key)
    (tmp_path / "pem").write_bytes(issued.pem)
    theirs = Certificates(shop.setup.folder / "ca.pem", tmp_path / "pem", tmp_path / "key")
    for port in (shop.port, shop.hub_port):
        assert not peer(None, port).up
        assert not peer(theirs, port).up


def test_an_expired_certificate_is_refused(shop: Provisioned, peer: Callable[..., Peer]) -> None:
    assert peer(shop.box(BOX)).up
    assert not peer(shop.box(BOX, days=-0.001)).up


def test_a_device_reaches_its_own_topics_and_no_others(
    shop: Provisioned, peer: Callable[..., Peer]
) -> None:
    box, hub = peer(shop.box(BOX)), peer(shop.hub, shop.hub_port, "hub-x")
    shop.box(OTHER)
    assert hub.subscribes("shelfgate/v1/#")
    for channel in Channel:
        assert box.publishes(BOX.topic(channel), b"own") is (channel in FROM_DEVICE), channel
        assert not box.publishes(OTHER.topic(channel), b"other")
    for topic in ("$CONTROL/x", "x", "shelfgate/v1/store-2/box-1/events", "$SYS/x"):
        assert not box.publishes(topic, b"other")
    until(lambda: len(hub.heard) == len(FROM_DEVICE))
    assert {topic for topic, _ in hub.heard} == {BOX.topic(one) for one in FROM_DEVICE}
    # A wide filter may be granted; what must not happen is that anything comes through it.
    filters = ["#", "shelfgate/#", "shelfgate/v1/+/+/commands", OTHER.topic(Channel.COMMANDS)]
    filters += [f"$share/g/{OTHER.topic(Channel.EVENTS)}", "$SYS/#", "shelfgate/v1/store-1/#"]
    for topic in filters:
        box.subscribes(topic)
    assert hub.publishes(OTHER.topic(Channel.COMMANDS), b"secret")
    assert hub.publishes(OTHER.topic(Channel.EVENTS), b"secret")
    assert box.subscribes(BOX.topic(Channel.COMMANDS))
    assert hub.publishes(BOX.topic(Channel.COMMANDS), b"for you")
    until(lambda: any(payload == b"for you" for _, payload in box.heard))
    time.sleep(0.3)
    assert all(topic.startswith(f"shelfgate/v1/{BOX}/") for topic, _ in box.heard)


def test_another_devices_certificate_is_that_device(
    shop: Provisioned, peer: Callable[..., Peer]
) -> None:
    other = peer(shop.box(OTHER), name=str(BOX))
    assert other.up
    assert not other.publishes(BOX.topic(Channel.EVENTS))
    assert other.publishes(OTHER.topic(Channel.EVENTS))


def test_a_revoked_device_is_shut_out_at_once(shop: Provisioned, peer: Callable[..., Peer]) -> None:
    thief = Address("store-1", "stolen")
    certificates = shop.box(thief)
    inside = peer(certificates)
    assert inside.publishes(thief.topic(Channel.EVENTS))
    assert shop.enrolments.revoke(THE_HUB, thief) == 1
    until(lambda: not inside.publishes(thief.topic(Channel.EVENTS)), 5)
    # A running mosquitto keeps its list of revoked certificates: a new one holds from its restart,
    # and until then the access list leaves nothing to reach.
    again = peer(certificates)
    if again.up:
        assert not again.publishes(thief.topic(Channel.EVENTS))
        again.subscribes("#")
        assert again.heard == []
    shop.stop()
    shop.start()
    assert not peer(certificates).up
    assert peer(shop.box(BOX)).up


def test_an_agent_and_a_hub_speak_tls(shop: Provisioned, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", "box-9")
    agent = Agent(
        tmp_path / "ledger.db",
        "127.0.0.1",
        shop.port,
        "box-9",
        "store-1",
        lambda _: Reply(ok=True),
        certificates=shop.box(Address("store-1", "box-9")),
    )
    ingest = Ingest(Store(shop.engine), "127.0.0.1", shop.hub_port, "1", shop.hub)
    ingest.start()
    agent.start()
    ledger.open_session("anna", 0.0)
    until(lambda: ledger.waiting() == 0)
    agent.stop()
    ingest.stop()
    ledger.close()


def test_a_code_works_once_and_for_its_hub_only(tmp_path: Path, shop: Provisioned) -> None:
    code = shop.enrolments.code(THE_HUB, BOX)
    key = ec.generate_private_key(ec.SECP256R1())
    for wrong in ("", "sgc_x_y_z", code.replace(code.split("_")[2], "0" * 32), code[:20]):
        with pytest.raises(EnrolmentRefused):
            shop.enrolments.redeem(wrong, _request(key))
    with pytest.raises(AuthorityError):
        shop.enrolments.redeem(code, b"no request")
    address, _ = shop.enrolments.redeem(code, _request(key))
    assert address == BOX
    with pytest.raises(EnrolmentRefused):
        shop.enrolments.redeem(code, _request(key))
    late = Enrolments(shop.engine, shop.enrolments.authority, clock=lambda: time.time() + 90_000)
    with pytest.raises(EnrolmentRefused):
        late.redeem(shop.enrolments.code(THE_HUB, BOX), _request(key))
    with pytest.raises(EnrolmentError, match="https only"):
        enrol("http://hub.example.com", code, tmp_path)
    with pytest.raises(EnrolmentError, match="no enrolment code"):
        enrol("https://127.0.0.1:1", "1234", tmp_path)
    assert code.encode() not in (shop.folder / "hub.db").read_bytes()


def test_the_api_gives_certificates_for_codes(shop: Provisioned) -> None:
    api = TestClient(create_app(shop.engine, enrolments=shop.enrolments, is_open=True))
    code = api.post("/devices/store-1/box-5/code", json={}).json()["code"]
    key = ec.generate_private_key(ec.SECP256R1())
    asked = {"code": code, "request": _request(key).decode()}
    answer = api.post("/enrolments", json=asked)
    assert (answer.status_code, answer.json()["device"]) == (201, "box-5")
    assert api.post("/enrolments", json=asked).status_code == 403
    assert api.get("/authority").text == answer.json()["authority"]
    assert api.post("/devices/store-1/box-5/revoke").json() == {"certificates": 1}
    log = json.dumps(api.get("/audit").json())
    assert code not in log
    assert "device.certify" in log


def test_the_access_list_names_every_channel() -> None:
    text = access_list([BOX])
    for channel in Channel:
        verb = "write" if channel in FROM_DEVICE else "read"
        assert f"topic {verb} {BOX.topic(channel)}\n" in text
