"""The hub's own certificate authority: who the broker, the hub and each device are.

A folder with the root's key (for its owner only), its certificate and the list of what was
revoked. A device's certificate names it as site/device and has its serial number beside the name;
the broker takes both for the user name, so a device's next certificate is another user. Bring your
own authority by putting its ca.pem and ca.key there.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud_sync.topics import Address

log = logging.getLogger(__name__)

ROOT_DAYS = 3_650
CERTIFICATE_DAYS = 365
LIST_DAYS = 365
BEFORE = timedelta(minutes=10)
"""Certificates hold from so long before now, or a tenth of their life: clocks may be behind."""

REQUEST_MOST = 10_000


class AuthorityError(Exception):
    """The authority cannot do what was asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate: PEM, serial in hexadecimal, Unix seconds of its end."""

    pem: bytes
    serial: str
    expires_at: float


class Authority:
    """A certificate authority in a folder. Raises AuthorityError where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        except OSError as error:
            raise AuthorityError(
                f"{folder}: no certificate authority here ({error.strerror}): "
                "shelfgate hub provision broker makes one"
            ) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise AuthorityError(f"{folder}: ca.pem or ca.key cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{folder}: ca.key is no elliptic-curve key")
        self._key = key

    @property
    def ca_file(self) -> Path:
        """The root's certificate."""
        return self.folder / "ca.pem"

    @property
    def crl_file(self) -> Path:
        """What was revoked."""
        return self.folder / "crl.pem"

    @property
    def _key_file(self) -> Path:
        return self.folder / "ca.key"

    @property
    def ca_pem(self) -> bytes:
        """The root's certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """What a box can recognise the root by: SHA-256, hexadecimal."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    @classmethod
    def make(cls, folder: Path, name: str = "shelfgate") -> Authority:
        """Give the authority of a folder, made where there is none."""
        if not (folder / "ca.key").exists():
            key = ec.generate_private_key(ec.SECP256R1())
            subject = _name(f"{name} authority")
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            built = (
                _dated(ROOT_DAYS)
                .serial_number(x509.random_serial_number())
                .subject_name(subject)
                .issuer_name(subject)
                .public_key(key.public_key())
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(usage, critical=True)
                .sign(key, hashes.SHA256())
            )
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "ca.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
            write_key(folder / "ca.key", key)
        authority = cls(folder)
        if not authority.crl_file.exists():
            authority.write_revoked({})
        return authority

    def sign(self, request: bytes, address: Address, days: float = CERTIFICATE_DAYS) -> Issued:
        """Give a device its certificate, whatever name its request carries.

        request: PEM. Raises AuthorityError where it is no request, or signed by another key.
        """
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(str(address), request_key(request), usage, (), days, numbered=True)

    def issue(
        self,
        name: str,
        hosts: Iterable[str] = (),
        *,
        days: float = CERTIFICATE_DAYS,
    ) -> tuple[Issued, ec.EllipticCurvePrivateKey]:
        """Make a key and its certificate.

        hosts: for a server, the names and addresses it is reached by; none: for a client.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = tuple(hosts)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(name, key.public_key(), usage, names, days), key

    def revoked(self) -> dict[str, float]:
        """Give what the list says was revoked: serial (hexadecimal) to Unix seconds.

        A list that is none says nothing: no broker starts with it, and the next one is whole.
        """
        try:
            listed = x509.load_pem_x509_crl(self.crl_file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            log.error("%s: is no list of what was revoked: %s", self.crl_file, error)
            return {}
        return {f"{one.serial_number:x}": one.revocation_date_utc.timestamp() for one in listed}

    def write_revoked(self, revoked: dict[str, float]) -> None:
        """Write the list of what was revoked: serial (hexadecimal) to Unix seconds.

        What is on it stays on it.
        """
        revoked = {**self.revoked(), **revoked}
        now = datetime.now(UTC)
        built = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - BEFORE)
            .next_update(now + timedelta(days=LIST_DAYS))
        )
        for serial, at in sorted(revoked.items()):
            built = built.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(datetime.fromtimestamp(at, UTC))
                .build()
            )
        pem = built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        part = self.crl_file.with_suffix(".part")
        part.write_bytes(pem)
        part.replace(self.crl_file)

    def _issue(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        usage: x509.ObjectIdentifier,
        hosts: tuple[str, ...],
        days: float,
        *,
        numbered: bool = False,
    ) -> Issued:
        serial = x509.random_serial_number()
        built = (
            _dated(days)
            .serial_number(serial)
            .subject_name(_name(name, f"{serial:x}" if numbered else ""))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if hosts:
            built = built.add_extension(
                x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False
            )
        signed = built.sign(self._key, hashes.SHA256())
        return Issued(
            signed.public_bytes(serialization.Encoding.PEM),
            f"{serial:x}",
            signed.not_valid_after_utc.timestamp(),
        )


def request_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """Give the key that a certificate request (PEM) is for and signed by.

    Raises AuthorityError where it is no request, or signed by another key.
    """
    if len(request) > REQUEST_MOST:
        raise AuthorityError("the certificate request is too long")
    try:
        read = x509.load_pem_x509_csr(request)
        if not read.is_signature_valid:
            raise AuthorityError("the certificate request is not signed by its own key")
        key = read.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise AuthorityError(f"no certificate request: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AuthorityError("the certificate request is for no elliptic-curve key")
    return key


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key for its owner's eyes only."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)


def user_name(address: Address, serial: str) -> str:
    """Give the name by which mosquitto knows a device's certificate: its whole subject."""
    return f"CN={address},serialNumber={serial}"


def _name(text: str, serial: str = "") -> x509.Name:
    # A common name has 64 characters at most; ids may be longer, and the broker reads this one.
    name = [x509.NameAttribute(NameOID.COMMON_NAME, text, _validate=False)]
    if serial:
        name.insert(0, x509.NameAttribute(NameOID.SERIAL_NUMBER, serial))
    return x509.Name(name)


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _dated(days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    # Of a short one, hardly any of its life lies behind it when it is given.
    begin = min(now, end) - (min(BEFORE, (end - now) / 10) if days > 0 else BEFORE)
    return x509.CertificateBuilder().not_valid_before(begin).not_valid_after(end)
