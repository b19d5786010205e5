"""Nobody gets in: certificates, one's own topics, and codes that work once; on a real mosquitto."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient

from cloud_sync.device.agent import Agent
from cloud_sync.device.enrolment import EnrolmentError, _request, enrol
from cloud_sync.hub.app import create_app
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority, AuthorityError, write_key
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.broker_setup import access_list
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.hub.enrolments import EnrolmentRefused, Enrolments
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.messages import Command, OpenSession, Reply, encode
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import FROM_DEVICE, Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import until
from tests.cloud_sync.a_shop import Peer, Provisioned

BOX = Address("store-1", "box-1")
OTHER = Address("store-1", "box-2")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    running = Provisioned(tmp_path_factory.mktemp("shop"))
    yield running
    running.stop()


class AnAgent:
    """A box's ledger and agent over TLS, and what it was told; a context manager that runs it."""

    def __init__(
        self, shop: Provisioned, address: Address, certificates: Certificates, folder: Path
    ) -> None:
        self.told: list[Command] = []
        self.ledger = Ledger(folder / "ledger.db", address.device)
        self.agent = Agent(
            folder / "ledger.db", "127.0.0.1", shop.port, address.device, address.site,
            self.obey, certificates=certificates,
        )  # fmt: skip

    def obey(self, command: Command) -> Reply:
        self.told.append(command)
        return Reply(ok=True)

    def __enter__(self) -> AnAgent:
        self.agent.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.stop()
        self.ledger.close()


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
    for port, ours in ((shop.port, shop.box(BOX)), (shop.hub_port, shop.hub)):
        assert peer(ours, port, f"ours-{port}").up
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


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_whatever_an_id_may_be_the_broker_knows_it(
    shop: Provisioned, peer: Callable[..., Peer]
) -> None:
    odd = Address("s._:@~-" + "x" * 93, "d._:@~-" + "y" * 93)
    assert peer(shop.box(odd)).publishes(odd.topic(Channel.EVENTS))


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
    inside, hub = peer(certificates), peer(shop.hub, shop.hub_port, "hub-z")
    assert hub.subscribes("shelfgate/v1/#")
    assert inside.publishes(thief.topic(Channel.EVENTS), b"before")
    assert inside.subscribes(thief.topic(Channel.COMMANDS))
    assert hub.publishes(thief.topic(Channel.COMMANDS), b"before")
    until(lambda: inside.heard == [(thief.topic(Channel.COMMANDS), b"before")])
    assert shop.enrolments.revoke(THE_HUB, thief) == 1
    until(lambda: not inside.publishes(thief.topic(Channel.EVENTS)), 5)
    assert not peer(certificates, name="again").up
    # The line that was open stays open, but leads nowhere, also when the next box has its name.
    next_box = peer(shop.box(thief), name="next")
    until(lambda: next_box.publishes(thief.topic(Channel.EVENTS), b"next"))
    inside.subscribes("#")
    for channel in Channel:
        assert not inside.publishes(thief.topic(channel), b"theirs")
        inside.subscribes(thief.topic(channel))
        assert hub.publishes(thief.topic(channel), b"after")
        assert hub.publishes(BOX.topic(channel), b"after")
    until(lambda: [what for _, what in hub.heard].count(b"after") == 2 * len(Channel))
    time.sleep(0.3)
    assert [what for _, what in inside.heard] == [b"before"]
    assert b"theirs" not in [what for _, what in hub.heard]
    shop.stop()
    shop.start()
    assert not peer(certificates).up
    assert peer(shop.box(BOX)).up


def test_an_agent_and_a_hub_speak_tls(shop: Provisioned, tmp_path: Path) -> None:
    address = Address("store-1", "box-9")
    ingest = Ingest(Store(shop.engine), "127.0.0.1", shop.hub_port, "1", shop.hub)
    ingest.start()
    with AnAgent(shop, address, shop.box(address), tmp_path) as there:
        there.ledger.open_session("anna", 0.0)
        until(lambda: there.ledger.waiting() == 0)
    ingest.stop()


def test_both_lines_of_a_box_live_side_by_side(shop: Provisioned, tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    packaged, newer = (a_bundle(tmp_path, n, prices=100 + n) for n in (0, 1))
    repository = a_repository(tmp_path / "repository", keys)
    repository.push(newer, keys.two)
    root = (repository.folder / "root.json").read_bytes()
    hub = BrokerLine("127.0.0.1", shop.hub_port, shop.hub)
    server = BlockServer(repository, hub.host, hub.port, "1", hub.certificates)
    ingest = Ingest(Store(shop.engine), hub.host, hub.port, "1", hub.certificates)
    server.start()
    ingest.start()
    box = Box(
        tmp_path / "box", shop.port, root, packaged.path,
        name="box-8", certificates=shop.box(Address("store-1", "box-8")), hub=hub,
    )  # fmt: skip
    try:
        until(lambda: box.agent.state.up and box.line.up)
        first = box.agent.state.hub_at
        box.want(1)
        box.ledger.open_session("anna", 0.0)
        box.comes_to("probation", 1, 30.0)
        until(lambda: box.ledger.waiting() == 0)
        assert box.running == ("drinks", 1)
        assert box.agent.state.hub_at != first
        assert box.line.connections == 1
    finally:
        box.stop()
        ingest.stop()
        server.stop()
    assert shop.taken_over("box-8") == []


def test_nobody_takes_anothers_place_by_its_client_id(
    shop: Provisioned, peer: Callable[..., Peer], tmp_path: Path
) -> None:
    victim = Address("store-1", "box-7")
    own, theirs = shop.box(victim), shop.box(OTHER)
    ingest = Ingest(Store(shop.engine), "127.0.0.1", shop.hub_port, "taker", shop.hub)
    ingest.start()
    names = (f"shelfgate/{victim}", "shelfgate-hub/taker")
    with AnAgent(shop, victim, own, tmp_path) as there:
        until(lambda: there.agent.state.up and ingest.problem is None)
        for name in (*names, str(victim), "hub"):
            assert peer(theirs, name=name).up
            assert peer(theirs, name=theirs.client_id(name)).up
        there.ledger.open_session("anna", 0.0)
        until(lambda: there.ledger.waiting() == 0)
        assert [one for name in names for one in shop.taken_over(name)] == []
        # Who holds the key can, so the above would have been seen.
        assert peer(own, name=own.client_id(names[0])).up
        until(lambda: shop.taken_over(names[0]) != [])
    ingest.stop()


def test_a_command_waits_at_the_broker_for_a_box_that_is_away(
    shop: Provisioned, peer: Callable[..., Peer], tmp_path: Path
) -> None:
    address = Address("store-1", "box-6")
    certificates = shop.box(address)
    with AnAgent(shop, address, certificates, tmp_path) as there:
        until(lambda: there.agent.state.up)
    hub = peer(shop.hub, shop.hub_port, "gate")
    assert hub.publishes(address.topic(Channel.COMMANDS), encode(OpenSession(session="anna")))
    with AnAgent(shop, address, certificates, tmp_path) as back:
        until(lambda: back.told == [OpenSession(session="anna")])


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
    _, code_id, secret, _ = code.split("_")
    kept = b"".join(path.read_bytes() for path in shop.folder.glob("hub.db*"))
    assert code_id.encode() in kept
    assert secret.encode() not in kept


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
    text = access_list({"1f": BOX})
    assert f"user CN={BOX},serialNumber=1f\n" in text
    for channel in Channel:
        verb = "write" if channel in FROM_DEVICE else "read"
        assert f"topic {verb} {BOX.topic(channel)}\n" in text
