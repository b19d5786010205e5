"""Get this box its certificate by a one-time code.

The key is made here and stays here. The code carries the fingerprint of the hub's authority: what
the hub says is believed only once its authority's certificate fits, and the code itself is sent
only over a line that this authority vouches for (or to this very machine).
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.topics import Address

ANSWER_S = 20.0
ANSWER_MOST = 100_000
LOOPBACK = ("127.0.0.1", "::1", "localhost")
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading an answer raises where it is none; a MessageError is a ValueError."""


class EnrolmentError(Exception):
    """The box was not enrolled; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who the box is now, and where its certificates lie."""

    site: str
    device: str
    folder: Path


def enrol(hub: str, code: str, folder: Path) -> Enrolled:
    """Turn a code into a certificate; write ca.pem, device.pem and device.key into folder.

    hub: the API's address, https:// unless it is on this machine. Raises EnrolmentError.
    """
    fingerprint = code.rpartition("_")[2]
    if len(fingerprint) != 32:
        raise EnrolmentError("that is no enrolment code: sgc_..._..._...")
    try:
        parts = urlsplit(hub)
    except ValueError as error:
        raise EnrolmentError(f"{hub}: no address of a hub: {error}") from error
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise EnrolmentError(f"{hub}: a code is sent over https only")
    # Not believed yet: only the fingerprint in the code tells whether this is the authority.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    authority = _ask(urllib.request.Request(f"{hub}/authority"), anybody)
    try:
        believed = ssl.PEM_cert_to_DER_cert(authority.decode())
    except ValueError as error:
        raise EnrolmentError(f"{hub}: no certificate of an authority") from error
    if not hashlib.sha256(believed).hexdigest().startswith(fingerprint):
        raise EnrolmentError(f"{hub}: this is not the hub that the code is from")
    key = ec.generate_private_key(ec.SECP256R1())
    body = {"code": code, "request": _request(key).decode()}
    posted = urllib.request.Request(
        f"{hub}/enrolments",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    # What the fingerprint is of, and not what else may stand in the answer.
    answer = _ask(posted, ssl.create_default_context(cadata=believed))
    try:
        said = json.loads(answer)
        whose = Address(said["site"], said["device"])
        certificate = said["certificate"].encode()
        if x509.load_pem_x509_certificate(certificate).public_key() != key.public_key():
            raise ValueError("the certificate is another box's")
        _keep(folder, key, certificate, ssl.DER_cert_to_PEM_cert(believed).encode())
    except UNREADABLE as error:
        raise EnrolmentError(f"{hub}: an answer that cannot be read") from error
    except OSError as error:
        raise EnrolmentError(f"{folder}: {error.strerror}") from error
    return Enrolled(whose.site, whose.device, folder)


def _request(key: ec.EllipticCurvePrivateKey) -> bytes:
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _keep(
    folder: Path, key: ec.EllipticCurvePrivateKey, certificate: bytes, authority: bytes
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(folder / "device.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
    (folder / "device.pem").write_bytes(certificate)
    (folder / "ca.pem").write_bytes(authority)


def _ask(request: urllib.request.Request, context: ssl.SSLContext) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S, context=context) as answer:
            data: bytes = answer.read(ANSWER_MOST)
            return data
    except urllib.error.HTTPError as error:
        try:
            detail = json.loads(error.read(ANSWER_MOST))["detail"]
        except (*UNREADABLE, OSError, HTTPException):
            detail = error.reason
        raise EnrolmentError(f"the hub refuses: {detail}") from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error or type(error).__name__
        raise EnrolmentError(f"{request.full_url}: {why}") from error
