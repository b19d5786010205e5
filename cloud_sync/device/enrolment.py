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
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ANSWER_S = 20.0
ANSWER_MOST = 100_000
LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
    parts = urlsplit(hub)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise EnrolmentError(f"{hub}: a code is sent over https only")
    # Not believed yet: only the fingerprint in the code tells whether this is the authority.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    authority = _ask(urllib.request.Request(f"{hub}/authority"), anybody)
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.decode())).hexdigest()
    except ValueError as error:
        raise EnrolmentError(f"{hub}: no certificate of an authority") from error
    if not found.startswith(fingerprint):
        raise EnrolmentError(f"{hub}: this is not the hub that the code is from")
    key = ec.generate_private_key(ec.SECP256R1())
    body = {"code": code, "request": _request(key).decode()}
    posted = urllib.request.Request(
        f"{hub}/enrolments",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    answer = _ask(posted, ssl.create_default_context(cadata=authority.decode()))
    try:
        said = json.loads(answer)
        enrolled = Enrolled(str(said["site"]), str(said["device"]), folder)
        _keep(folder, key, said["certificate"].encode(), authority)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnrolmentError(f"{hub}: an answer that cannot be read") from error
    except OSError as error:
        raise EnrolmentError(f"{folder}: {error.strerror}") from error
    return enrolled


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
        except (ValueError, KeyError, TypeError):
            detail = error.reason
        raise EnrolmentError(f"the hub refuses: {detail}") from error
    except (urllib.error.URLError, OSError) as error:
        raise EnrolmentError(f"{request.full_url}: {getattr(error, 'reason', error)}") from error
