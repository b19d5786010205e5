"""What a certificate says of itself: whose it is and how long it holds. Ground floor."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

RENEW_AT = 1 / 3
"""A box renews its certificate when less than this share of its life is left."""

WARN_AT = 1 / 4
"""With less than this left somebody should see to it."""

PEM_MOST = 10_000


class CertificateError(Exception):
    """Bytes are no certificate, or one that is not good here; the text says why."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """From when to when a certificate holds, in Unix seconds."""

    begins: float
    ends: float

    def left(self, now: float) -> float:
        """Give the share of its life that is left: 1 at its begin, 0 at its end, below 0 after."""
        return (self.ends - now) / max(1.0, self.ends - self.begins)


def read_certificate(pem: bytes) -> x509.Certificate:
    """Read a certificate (PEM). Raises CertificateError."""
    if len(pem) > PEM_MOST:
        raise CertificateError("the certificate is too long")
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"no certificate: {error}") from error


def lifetime(certificate: x509.Certificate) -> Lifetime:
    """Give from when to when it holds."""
    return Lifetime(
        certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def common_name(certificate: x509.Certificate) -> str:
    """Give whose it is; empty where it does not say. Raises CertificateError."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""
    except ValueError as error:
        raise CertificateError(f"the certificate's name cannot be read: {error}") from error


def check_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    """Raise CertificateError where an authority has not signed a certificate itself."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise CertificateError("the certificate is of another authority") from error
