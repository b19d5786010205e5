"""A box renews its own certificate, on a real mosquitto with TLS, and whoever may not does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.certificate import lifetime, read_certificate
from cloud_sync.device.agent import Agent
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.enrolment import _request
from cloud_sync.device.renewal import Renewal, RenewalError
from cloud_sync.hub.audit import THE_HUB, Audit
from cloud_sync.hub.authority import Authority, user_name, write_key
from cloud_sync.hub.fleet import Fleet
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.renewals import RenewalDesk, RenewalRefused, Renewals
from cloud_sync.hub.store import Store
from cloud_sync.messages import Reply
from cloud_sync.mqtt import Certificates
from cloud_sync.renewal import RenewalAsk, Renewed, encode_renewal
from cloud_sync.topics import Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import ROOT, until
from tests.cloud_sync.a_shop import Peer, Provisioned

SECOND = 1 / 86_400
DUE_DAYS = 1.0
"""A certificate of this life is given, and the clocks of box and desk go so that it is due."""

LATER_S = 0.9 * 86_400


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    running = Provisioned(tmp_path_factory.mktemp("renewals"))
    yield running
    running.stop()


def later() -> float:
    """A clock by which a certificate of a day, given now, is due."""
    return time.time() + LATER_S


@pytest.fixture
def desk(shop: Provisioned) -> Iterator[RenewalDesk]:
    renewals = Renewals(shop.engine, shop.enrolments, clock=later)
    one = RenewalDesk(renewals, "127.0.0.1", shop.hub_port, "desk", shop.hub)
    one.start()
    until(lambda: one.problem is None)
    yield one
    one.stop()


def a_renewal(shop: Provisioned, address: Address, files: Certificates) -> Renewal:
    return Renewal(address, "127.0.0.1", shop.port, files, clock=later)


def serial_of(path: Path) -> str:
    return f"{read_certificate(path.read_bytes()).serial_number:x}"


def ends(path: Path) -> float:
    return lifetime(read_certificate(path.read_bytes())).ends


def renewals_of(shop: Provisioned, address: Address) -> list[dict[str, object]]:
    return [
        row.detail
        for row in Audit(shop.engine).newest(500)
        if row.action == "device.renew" and row.subject == str(address)
    ]


def an_ask(files: Certificates, key_file: Path | None = None) -> RenewalAsk:
    """What a box with these files asks; with another's key where one is given."""
    pem = (key_file or files.key).read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    request = _request(key).decode()
    return RenewalAsk(certificate=files.certificate.read_text(), request=request)


def lets_in(shop: Provisioned, files: Certificates) -> bool:
    """Whether the broker does; it reads a new list of the revoked in its own time."""
    peer = Peer(shop.port, files, f"peer-{time.monotonic_ns()}")
    peer.close()
    return peer.up


def test_a_box_renews_in_time_and_is_known_by_the_new_one(
    shop: Provisioned, desk: RenewalDesk
) -> None:
    address = Address("store-1", "box-1")
    files = shop.box(address, days=DUE_DAYS)
    key, before = files.key.read_bytes(), serial_of(files.certificate)
    renewal = a_renewal(shop, address, files)
    first = ends(files.certificate)
    time.sleep(1.1)

    assert renewal.look()

    after = serial_of(files.certificate)
    assert after != before
    assert ends(files.certificate) > first
    assert files.key.read_bytes() == key
    assert renewal.ends_at == ends(files.certificate)
    assert [path.suffix for path in files.key.parent.glob("*.part")] == []
    assert renewals_of(shop, address) == [{"serial": after, "replaces": before}]
    assert Audit(shop.engine).newest(1)[0].who == f"the box {address}"
    view = Fleet(shop.engine).device(address)
    assert view is not None
    assert view.certificate_until == ends(files.certificate)
    assert user_name(address, after) in (shop.setup.folder / "acl").read_text()


def test_far_from_its_end_nothing_is_asked(shop: Provisioned, desk: RenewalDesk) -> None:
    address = Address("store-1", "box-2")
    files = shop.box(address, days=DUE_DAYS)
    renewal = Renewal(address, "127.0.0.1", shop.port, files)
    assert not renewal.look()
    assert renewal.problems == ()
    early = Renewals(shop.engine, shop.enrolments)
    with pytest.raises(RenewalRefused, match="more than half"):
        early.renew(address, an_ask(files))


def test_lines_go_on_with_the_new_one_after_the_old_one_has_ended(
    shop: Provisioned, tmp_path: Path
) -> None:
    """Clocks as they are: a certificate of 12 s is renewed, ends, and entries go on arriving."""
    address = Address("store-1", "box-3")
    files = shop.box(address, days=12 * SECOND)
    before, end = serial_of(files.certificate), ends(files.certificate)
    hub = ("127.0.0.1", shop.hub_port)
    desk = RenewalDesk(Renewals(shop.engine, shop.enrolments), *hub, "short", shop.hub)
    ingest = Ingest(Store(shop.engine), *hub, "short", shop.hub)
    ledger = Ledger(tmp_path / "ledger.db", address.device)
    agent = Agent(
        tmp_path / "ledger.db", "127.0.0.1", shop.port, address.device, address.site,
        lambda _: Reply(ok=True), certificates=files,
    )  # fmt: skip
    bundles = BundleLine(address, "127.0.0.1", shop.port, files)

    def come_anew() -> None:
        agent.come_anew()
        bundles.come_anew()

    renewal = Renewal(address, "127.0.0.1", shop.port, files, come_anew)
    parts = (desk, ingest, agent, bundles, renewal)
    for part in parts:
        part.start()
    try:
        ledger.open_session("anna", 0.0)
        until(lambda: ledger.waiting() == 0)
        until(lambda: serial_of(files.certificate) != before, 20)
        until(lambda: time.time() > end + 0.5, 20)
        # What the hub does every hour: the old one is let in no more, also on a line that is open.
        shop.enrolments.refresh()
        until(lambda: agent.state.up and bundles.up and bundles.connections >= 2, 20)
        ledger.close_session("anna", 1.0)
        until(lambda: ledger.waiting() == 0, 20)
        assert user_name(address, before) not in (shop.setup.folder / "acl").read_text()
        log = (shop.setup.folder / "mosquitto.log").read_text()
        assert user_name(address, serial_of(files.certificate)) in log
    finally:
        for part in reversed(parts):
            part.stop()
        ledger.close()


def test_a_revoked_box_is_refused_by_broker_and_hub(shop: Provisioned, desk: RenewalDesk) -> None:
    address = Address("store-1", "box-4")
    files = shop.box(address, days=DUE_DAYS)
    before = files.certificate.read_bytes()
    assert shop.enrolments.revoke(THE_HUB, address) == 1
    renewal = a_renewal(shop, address, files)
    with pytest.raises(RenewalError, match="broker"):
        renewal.look()
    assert files.certificate.read_bytes() == before
    # Somebody who holds the broker lets the ask through: the hub looks for itself.
    with pytest.raises(RenewalRefused, match="revoked"):
        Renewals(shop.engine, shop.enrolments, clock=later).renew(address, an_ask(files))
    assert renewals_of(shop, address) == []


def test_revoking_a_box_revokes_what_its_certificate_was_renewed_into(
    shop: Provisioned, desk: RenewalDesk
) -> None:
    address = Address("store-1", "box-5")
    files = shop.box(address, days=DUE_DAYS)
    old = replace(files, certificate=files.certificate.with_name("old.pem"))
    old.certificate.write_bytes(files.certificate.read_bytes())
    assert a_renewal(shop, address, files).look()
    assert shop.enrolments.revoke(THE_HUB, address) == 2
    for one in (old, files):
        with pytest.raises(RenewalRefused, match="revoked"):
            Renewals(shop.engine, shop.enrolments, clock=later).renew(address, an_ask(one))
        until(lambda one=one: not lets_in(shop, one), 10)


def test_nobody_gets_a_certificate_by_what_is_not_theirs(
    shop: Provisioned, desk: RenewalDesk, tmp_path: Path
) -> None:
    mine, theirs = Address("store-1", "box-6"), Address("store-1", "box-7")
    files, others = shop.box(mine, days=DUE_DAYS), shop.box(theirs, days=DUE_DAYS)
    stranger = Authority.make(tmp_path / "other")
    forged, key = stranger.issue(str(mine), days=DUE_DAYS)
    unknown, _ = shop.enrolments.authority.issue(str(mine), days=DUE_DAYS)
    write_key(tmp_path / "forged.key", key)
    renewals = Renewals(shop.engine, shop.enrolments, clock=later)
    good = an_ask(files)
    for ask, why in (
        (an_ask(others), "another box's"),
        (an_ask(files, others.key), "another key"),
        (replace_in(good, certificate=forged.pem.decode()), "another authority"),
        (replace_in(good, certificate=unknown.pem.decode()), "another key"),
        (replace_in(good, certificate="no certificate"), "no certificate"),
        (replace_in(good, request="no request"), "no certificate request"),
        (replace_in(good, request=good.certificate), "no certificate request"),
    ):
        with pytest.raises(RenewalRefused, match=why):
            renewals.renew(mine, ask)
    over = Renewals(shop.engine, shop.enrolments, clock=lambda: time.time() + 2 * 86_400)
    with pytest.raises(RenewalRefused, match="is over"):
        over.renew(mine, good)
    assert renewals_of(shop, mine) == []
    # By the broker: another's topic is closed to it, whatever it asks there.
    peer = Peer(shop.port, files, "peer-6")
    assert not peer.publishes(theirs.topic(Channel.RENEWALS), encode_renewal(an_ask(others)))
    for noise in (b"", b"{", b"[" * 50_000, encode_renewal(Renewed(problem="x"))):
        assert peer.publishes(mine.topic(Channel.RENEWALS), noise)
    peer.close()
    assert a_renewal(shop, mine, files).look(), "the desk survives all of it"


def replace_in(ask: RenewalAsk, **changes: str) -> RenewalAsk:
    return RenewalAsk(**{"certificate": ask.certificate, "request": ask.request, **changes})


class LyingHub:
    """Answers every ask for renewal as it likes, as who holds the broker could."""

    def __init__(self, shop: Provisioned, address: Address, answer: bytes) -> None:
        self._peer = Peer(shop.hub_port, shop.hub, f"liar-{time.monotonic_ns()}")
        assert self._peer.subscribes(address.topic(Channel.RENEWALS))
        topic = address.topic(Channel.CERTIFICATES)
        self._peer.client.on_message = lambda client, *_: client.publish(topic, answer, qos=1)

    def stop(self) -> None:
        self._peer.close()


@pytest.mark.parametrize(
    "lie", ["other authority", "other key", "other name", "no longer", "noise", "refuses"]
)
def test_a_box_takes_no_certificate_that_is_not_its_next(
    shop: Provisioned, tmp_path: Path, lie: str
) -> None:
    address = Address("store-1", f"box-lie-{lie.replace(' ', '-')}")
    files = shop.box(address, days=DUE_DAYS)
    before = files.certificate.read_bytes()
    authority = shop.enrolments.authority
    request = an_ask(files).request.encode()
    other = Authority.make(tmp_path / "other")
    lies = {
        "other authority": other.sign(request, address).pem,
        "other key": authority.sign(_request(ec.generate_private_key(ec.SECP256R1())), address).pem,
        "other name": authority.sign(request, Address("store-1", "box-else")).pem,
        "no longer": authority.sign(request, address, days=0.5).pem,
    }
    answer = Renewed(problem="because")
    if lie in lies:
        answer = Renewed(certificate=lies[lie].decode())
    payload = b"noise" if lie == "noise" else encode_renewal(answer)
    hub = LyingHub(shop, address, payload)
    try:
        with pytest.raises(RenewalError):
            a_renewal(shop, address, files).look()
    finally:
        hub.stop()
    assert files.certificate.read_bytes() == before


def test_one_that_the_broker_does_not_let_in_is_not_put_in_place(shop: Provisioned) -> None:
    """By the right authority, for the right key and name, but nobody has told the broker of it."""
    address = Address("store-1", "box-8")
    files = shop.box(address, days=DUE_DAYS)
    before = files.certificate.read_bytes()
    issued = shop.enrolments.authority.sign(an_ask(files).request.encode(), address, days=2.0)
    hub = LyingHub(shop, address, encode_renewal(Renewed(certificate=issued.pem.decode())))
    renewal = a_renewal(shop, address, files)
    with pytest.raises(RenewalError, match="the broker refuses what we send"):
        renewal.look()
    hub.stop()
    assert files.certificate.read_bytes() == before


CRASH = """
import os, sys, time
from pathlib import Path
from cloud_sync.device import renewal
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Address

site, device, port, ca, folder, step = sys.argv[1:]
one = renewal.Renewal(
    Address(site, device), "127.0.0.1", int(port),
    Certificates(Path(ca), Path(folder, "device.pem"), Path(folder, "device.key")),
    clock=lambda: time.time() + 0.9 * 86_400,
)
def cut(*_, **__):
    os._exit(9)
if step == "asked":
    one._check = cut
elif step == "half written":
    real = os.fsync
    def fsync(handle):
        os.ftruncate(handle, 100)
        os._exit(9)
    renewal.os.fsync = fsync
elif step == "tried":
    Path.replace = cut
elif step == "renamed":
    renewal._settle = cut
one.look()
"""


@pytest.mark.parametrize("step", ["asked", "half written", "tried", "renamed"])
def test_a_power_cut_between_the_steps_leaves_a_certificate_that_works(
    shop: Provisioned, desk: RenewalDesk, step: str
) -> None:
    address = Address("store-1", f"box-cut-{step.replace(' ', '-')}")
    files = shop.box(address, days=DUE_DAYS)
    before = serial_of(files.certificate)
    time.sleep(1.1)
    cut = subprocess.run(
        [sys.executable, "-c", CRASH, address.site, address.device, str(shop.port),
         str(files.ca), str(files.key.parent), step],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert cut.returncode == 9
    assert (serial_of(files.certificate) == before) is (step != "renamed")
    peer = Peer(shop.port, files, f"after-{step}")
    assert peer.publishes(address.topic(Channel.EVENTS))
    peer.close()

    if step != "renamed":
        assert a_renewal(shop, address, files).look()
    assert len(renewals_of(shop, address)) == 1, "the same ask has the same answer"
    assert renewals_of(shop, address)[0]["serial"] == serial_of(files.certificate)


def test_what_keeps_it_from_being_renewed_is_said_when_the_end_is_near(shop: Provisioned) -> None:
    address = Address("store-1", "box-9")
    files = shop.box(address, days=DUE_DAYS)
    renewal = a_renewal(shop, address, files)
    renewal.start()
    until(lambda: renewal.problems != (), 30)
    renewal.stop()
    (problem,) = renewal.problems
    assert "no hub at the broker renews certificates" in problem
    over = Renewal(address, "127.0.0.1", shop.port, files, clock=lambda: time.time() + 2 * 86_400)
    assert not over.look()
    assert "ended on" in over.problems[0]
    assert "shelfgate enrol" in over.problems[0]


def test_a_folder_that_cannot_be_written_costs_the_renewal_and_not_the_certificate(
    shop: Provisioned, desk: RenewalDesk
) -> None:
    address = Address("store-1", "box-10")
    files = shop.box(address, days=DUE_DAYS)
    (files.key.parent / "device.pem.part").mkdir()
    with pytest.raises(RenewalError, match=str(files.key.parent)):
        a_renewal(shop, address, files).look()
    peer = Peer(shop.port, files, "unwritten")
    assert peer.up
    peer.close()


def test_a_renewed_one_is_for_a_device_and_nothing_else(
    shop: Provisioned, desk: RenewalDesk
) -> None:
    address = Address("store-1", "box-11")
    files = shop.box(address, days=DUE_DAYS)
    assert a_renewal(shop, address, files).look()
    made = read_certificate(files.certificate.read_bytes())
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [one.dotted_string for one in usage] == ["1.3.6.1.5.5.7.3.2"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert json.dumps(renewals_of(shop, address)).count("serial") == 1
