"""A box renews its own certificate, on a real mosquitto with TLS."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import delete

from cloud_sync.certificate import read_certificate
from cloud_sync.device.agent import Agent
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.renewal import Renewal, RenewalError
from cloud_sync.hub.audit import THE_HUB, Audit
from cloud_sync.hub.authority import user_name
from cloud_sync.hub.fleet import Fleet
from cloud_sync.hub.fleet_tables import CertificateRow
from cloud_sync.hub.health import Metrics
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.renewals import RenewalDesk, RenewalRefused, Renewals
from cloud_sync.hub.store import Store
from cloud_sync.messages import Reply
from cloud_sync.topics import Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import ROOT, until
from tests.cloud_sync.a_renewal import (
    DUE_DAYS,
    SECOND,
    a_renewal,
    an_ask,
    ends,
    lets_in,
    renewals_of,
    serial_of,
)
from tests.cloud_sync.a_shop import Peer, Provisioned


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


def test_a_hub_restored_from_a_backup_knows_a_box_that_was_renewed_since(
    shop: Provisioned, desk: RenewalDesk
) -> None:
    renewed, thief = Address("store-1", "box-12"), Address("store-1", "box-13")
    files, stolen = shop.box(renewed, days=DUE_DAYS), shop.box(thief, days=DUE_DAYS)
    assert a_renewal(shop, renewed, files).look()
    serial, theirs = serial_of(files.certificate), serial_of(stolen.certificate)
    shop.enrolments.revoke(THE_HUB, thief)
    with shop.engine.begin() as connection:
        # What a database of yesterday does not know.
        for one in (serial, theirs):
            connection.execute(delete(CertificateRow).where(CertificateRow.serial == one))

    shop.enrolments.refresh()

    until(lambda: lets_in(shop, files), 10)
    assert not lets_in(shop, stolen)
    assert user_name(renewed, serial) in (shop.setup.folder / "acl").read_text()
    assert shop.enrolments.certified()[serial] == renewed
    assert theirs not in shop.enrolments.certified()
    newest = Audit(shop.engine).newest(1)[0]
    assert (newest.who, newest.action, newest.detail) == (
        "the hub", "device.certify", {"serial": serial}
    )  # fmt: skip
    assert a_renewal(shop, renewed, files).look(), "and it is renewed again in its time"


def test_the_metrics_count_devices_whose_certificate_ends_soon(shop: Provisioned) -> None:
    shop.box(Address("store-1", "box-14"), days=DUE_DAYS)
    text = Metrics(shop.engine, None).text().decode()
    (count,) = re.findall(r"^shelfgate_hub_device_certificates_ending (\S+)$", text, re.MULTILINE)
    before = float(count)
    shop.box(Address("store-1", "box-14"), days=365)
    assert f"certificates_ending {before - 1}" in Metrics(shop.engine, None).text().decode()


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
