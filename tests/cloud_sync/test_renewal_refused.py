"""Who gets no renewed certificate, and what a box takes for none; on a real mosquitto with TLS."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.device.enrolment import _request
from cloud_sync.device.renewal import RenewalError
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority, write_key
from cloud_sync.hub.broker_setup import BrokerSetup
from cloud_sync.hub.renewals import RenewalDesk, RenewalRefused, Renewals
from cloud_sync.renewal import RenewalAsk, Renewed, encode_renewal
from cloud_sync.topics import Address, Channel
from tests.cloud_sync.a_device import until
from tests.cloud_sync.a_renewal import (
    DUE_DAYS,
    a_renewal,
    an_ask,
    later,
    lets_in,
    renewals_of,
)
from tests.cloud_sync.a_shop import Peer, Provisioned


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


def test_what_is_no_list_and_no_address_in_the_brokers_files_costs_nothing(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    setup = BrokerSetup(tmp_path, authority)
    assert setup.users() == {}
    setup.let_in({"1f": Address("store-1", "box-1")}, {"2e": 1.0})
    assert authority.revoked() == {"2e": 1.0}
    with (tmp_path / "acl").open("a") as file:
        file.write("user CN=a b/c,serialNumber=3\nuser CN=x\nuser CN=+/#,serialNumber=4\n")
    assert setup.users() == {"1f": Address("store-1", "box-1")}
    authority.crl_file.write_bytes(b"noise")
    authority.write_revoked({"3d": 2.0})
    assert authority.revoked() == {"3d": 2.0}


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
    ("lie", "why"),
    [
        ("other authority", "of another authority"),
        ("other key", "for another key"),
        ("other name", "another box's"),
        ("no longer", "ends no later than ours"),
        ("noise", "no word about a renewal"),
        ("refuses", "the hub refuses: because"),
    ],
)
def test_a_box_takes_no_certificate_that_is_not_its_next(
    shop: Provisioned, tmp_path: Path, lie: str, why: str
) -> None:
    address = Address("store-1", f"box-lie-{lie.replace(' ', '-')}")
    files = shop.box(address, days=DUE_DAYS)
    before = files.certificate.read_bytes()
    request = an_ask(files).request.encode()
    other_request = _request(ec.generate_private_key(ec.SECP256R1()))
    other = Authority.make(tmp_path / "other")
    # The broker lets ours in: nobody but the box itself refuses them.
    ours = shop.enrolments.certify
    lies = {
        "other authority": other.sign(request, address).pem,
        "other key": ours(THE_HUB, address, other_request, 2.0).pem,
        "other name": ours(THE_HUB, Address("store-1", "box-else"), request, 2.0).pem,
        "no longer": ours(THE_HUB, address, request, 0.5).pem,
    }
    answer = Renewed(problem="because")
    if lie in lies:
        answer = Renewed(certificate=lies[lie].decode())
    payload = b"noise" if lie == "noise" else encode_renewal(answer)
    hub = LyingHub(shop, address, payload)
    try:
        with pytest.raises(RenewalError, match=why):
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
