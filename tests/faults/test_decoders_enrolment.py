"""Who is let in: codes, requests and answers, whatever they are made of."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from cloud_sync.device.enrolment import EnrolmentError, _request, enrol
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority, AuthorityError
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.enrolments import EnrolmentRefused, Enrolments
from cloud_sync.hub.renewals import RenewalRefused, Renewals
from cloud_sync.hub.tokens import Tokens
from cloud_sync.messages import MessageError
from cloud_sync.renewal import (
    RenewalAsk,
    Renewed,
    decode_renewal_ask,
    decode_renewed,
    encode_renewal,
)
from cloud_sync.topics import Address
from tests.faults.damage import damaged, survives, tries

BOX = Address("store-1", "box-1")


@pytest.fixture(scope="session")
def enrolments(tmp_path_factory: pytest.TempPathFactory) -> Enrolments:
    folder = tmp_path_factory.mktemp("enrolments")
    engine = open_database(str(folder / "hub.db"))
    migrate(engine)
    return Enrolments(engine, Authority.make(folder / "authority"))


def requests() -> tuple[bytes, ...]:
    """Real certificate requests, as PEM and inside out."""
    pem = _request(ec.generate_private_key(ec.SECP256R1()))
    return pem, x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER)


def as_pem(der: bytes, what: str = "CERTIFICATE REQUEST") -> bytes:
    text = base64.encodebytes(der).decode()
    head = f"{what}-----\n"
    return f"-----BEGIN {head}{text}-----END {head}".encode()


def test_a_request_for_a_certificate_is_granted_or_refused(enrolments: Enrolments) -> None:
    code = enrolments.code(THE_HUB, BOX)
    pem, der = requests()

    @tries(60)
    @given(damaged((pem,)) | damaged((der,)).map(as_pem))
    def check(request: bytes) -> None:
        survives(lambda: enrolments.authority.sign(request, BOX), AuthorityError)

    @tries(40)
    @given(st.text(st.characters(), max_size=80) | damaged((code.encode(),)).map(
           lambda one: one.decode("utf-8", "surrogateescape")))  # fmt: skip
    def check_code(text: str) -> None:
        survives(lambda: enrolments.redeem(text, b"no request"), EnrolmentRefused, AuthorityError)
        assert Tokens(enrolments._engine).holder(text) is None
        assert Tokens(enrolments._engine).holder(text.replace("sgc", "sgt")) is None

    check()
    check_code()


def test_an_ask_for_renewal_is_granted_or_refused(enrolments: Enrolments) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = enrolments.certify(THE_HUB, BOX, _request(key), 1.0).pem
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    asks = requests()
    renewals = Renewals(enrolments._engine, enrolments, clock=lambda: time.time() + 80_000)
    good = RenewalAsk(certificate=pem.decode(), request=_request(key).decode())

    @tries(100)
    @given(
        damaged((pem,)) | damaged((der,)).map(lambda one: as_pem(one, "CERTIFICATE")),
        damaged((asks[0],)) | damaged((asks[1],)).map(as_pem),
    )
    def check(certificate: bytes, request: bytes) -> None:
        text, other = (one.decode("latin-1") for one in (certificate, request))
        for ask in (
            RenewalAsk(certificate=text, request=good.request),
            RenewalAsk(certificate=good.certificate, request=other),
        ):
            survives(lambda ask=ask: renewals.renew(BOX, ask), RenewalRefused)

    @tries(200)
    @given(damaged((encode_renewal(good), encode_renewal(Renewed(certificate=pem.decode())))))
    def check_payload(payload: bytes) -> None:
        survives(lambda: decode_renewal_ask(payload), MessageError)
        survives(lambda: decode_renewed(payload), MessageError)

    check()
    check_payload()


class AnyHub(http.server.BaseHTTPRequestHandler):
    """Answers what it is told to; raw: the whole answer, with its status line."""

    authority: bytes = b""
    answer: bytes = b""
    status: int = 201
    raw: bytes | None = None

    def do_GET(self) -> None:
        self._say(200, self.authority)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(self.status, self.answer)

    def _say(self, status: int, content: bytes) -> None:
        if self.raw is not None:
            self.wfile.write(self.raw)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def any_hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnyHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_box_survives_whatever_a_hub_answers(
    any_hub: str, enrolments: Enrolments, tmp_path: Path
) -> None:
    code = enrolments.code(THE_HUB, BOX)
    ca = enrolments.authority.ca_pem
    answer = json.dumps(
        {"site": "s", "device": "d", "certificate": ca.decode(), "authority": ca.decode()}
    ).encode()

    @tries(15)
    @given(damaged((ca,)), damaged((answer,)), st.sampled_from((201, 200, 403, 500)), st.data())
    def check(authority: bytes, said: bytes, status: int, data: Any) -> None:
        AnyHub.authority = data.draw(st.sampled_from((ca, ca, authority)))
        AnyHub.answer, AnyHub.status = said, status
        AnyHub.raw = data.draw(st.none() | st.none() | st.binary(max_size=60))
        survives(lambda: enrol(any_hub, code, tmp_path / "tls"), EnrolmentError)

    check()
    for hub in ("", "https://", "https://[", "http://127.0.0.1:x", "https://a b", "ftp://x"):
        with pytest.raises(EnrolmentError):
            enrol(hub, code, tmp_path / "tls")
