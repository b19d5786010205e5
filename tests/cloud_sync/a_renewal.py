"""Boxes whose certificates are due, and what came of them."""

from __future__ import annotations

import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.certificate import lifetime, read_certificate
from cloud_sync.device.enrolment import _request
from cloud_sync.device.renewal import Renewal
from cloud_sync.hub.audit import Audit
from cloud_sync.mqtt import Certificates
from cloud_sync.renewal import RenewalAsk
from cloud_sync.topics import Address
from tests.cloud_sync.a_shop import Peer, Provisioned

SECOND = 1 / 86_400
DUE_DAYS = 1.0
"""A certificate of this life is given, and the clocks of box and desk go so that it is due."""

LATER_S = 0.9 * 86_400


def later() -> float:
    """A clock by which a certificate of a day, given now, is due."""
    return time.time() + LATER_S


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
