"""A box renews its own certificate, well before it ends and without a visit.

It asks over a line that its present certificate opens, for a certificate by the same key: so there
is one file to replace, client ids stay what they are, and no key has to travel or to be made. The
new one is used only once the broker has let it in on a line of its own, and takes the old one's
place by one rename, fsynced before and after: after a power cut at any point the box has one of the
two, and both are good. A box that has the old one asks again, and is given the same one.

One thread, `renewal`; the appliance has its lines come anew when there is a new certificate.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.certificate import (
    RENEW_AT,
    WARN_AT,
    CertificateError,
    check_signed_by,
    common_name,
    lifetime,
    read_certificate,
)
from cloud_sync.device.short_line import LineRefused, ShortLine
from cloud_sync.messages import MessageError, Reply, encode
from cloud_sync.mqtt import Certificates
from cloud_sync.renewal import RenewalAsk, decode_renewed, encode_renewal
from cloud_sync.topics import Address, Channel

log = logging.getLogger(__name__)

EVERY_S = 3_600.0
ANSWER_S = 20.0
SPREAD = 0.03
"""Boxes that were enrolled on one day renew over so large a share of their certificates' life."""


class RenewalError(Exception):
    """The certificate was not renewed; the text says why."""


class Renewal:
    """Looks after a box's certificate, from `start` to `stop`.

    address: the box's own. certificates: its files; the folder of the certificate must be writable.
    when_renewed: called once the new one is in its place. clock: Unix seconds.
    """

    def __init__(
        self,
        address: Address,
        host: str,
        port: int,
        certificates: Certificates,
        when_renewed: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address, self._host, self._port = address, host, port
        self._files = certificates
        self._when_renewed = when_renewed
        self._clock = clock
        self._reason = ""
        self.ends_at: float | None = None
        self._left = 1.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the page; empty while the end is far, or nothing is wrong."""
        if self.ends_at is None:
            return (self._reason,) if self._reason else ()
        end = time.strftime("%Y-%m-%d", time.gmtime(self.ends_at))
        if self._left <= 0:
            return (
                f"this box's certificate for the hub ended on {end}: give it a new one, by "
                "`shelfgate enrol` with a new code",
            )
        if self._left > WARN_AT or not self._reason:
            return ()
        return (f"this box's certificate ends on {end} and is not renewed: {self._reason}",)

    def start(self) -> None:
        """Begin to look, now and every hour."""
        self._thread.start()

    def stop(self) -> None:
        """End, after a renewal that is under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> bool:
        """Renew the certificate where it is due; say whether it was.

        Raises RenewalError where that did not work; the box goes on with the one it has.
        """
        present, key = self._present()
        held = lifetime(present)
        self.ends_at, self._left = held.ends, held.left(self._clock())
        lot = present.serial_number % 1_000 / 1_000
        if self._left <= 0 or self._left > RENEW_AT - SPREAD * lot:
            return False
        try:
            pem = self._ask(present, key)
            self._check(pem, present)
            self._install(pem)
        except (CertificateError, LineRefused, MessageError) as error:
            raise RenewalError(str(error)) from error
        except OSError as error:
            where = self._files.certificate.parent
            raise RenewalError(f"{where}: {error.strerror or error}") from error
        held = lifetime(read_certificate(pem))
        self.ends_at, self._left = held.ends, held.left(self._clock())
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                renewed = self.look()
            except RenewalError as error:
                if str(error) != self._reason:
                    log.warning("the certificate is not renewed: %s", error)
                self._reason = str(error)
            else:
                self._reason = ""
                if renewed:
                    log.info("the certificate is renewed, until %s", time.ctime(self.ends_at))
                    self._when_renewed()
            self._stopping.wait(self._pause_s())

    def _pause_s(self) -> float:
        """Return how long to rest: an hour, less where a certificate's whole life is short."""
        if self.ends_at is None:
            return EVERY_S
        return min(EVERY_S, max(1.0, (self.ends_at - self._clock()) / 20))

    def _present(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        try:
            certificate = read_certificate(self._files.certificate.read_bytes())
            key = serialization.load_pem_private_key(self._files.key.read_bytes(), None)
        except (OSError, ValueError, TypeError, CertificateError) as error:
            raise RenewalError(f"the certificate in use cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise RenewalError(f"{self._files.key}: is no elliptic-curve key")
        return certificate, key

    def _ask(self, present: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
        """Ask the hub. Raises RenewalError, LineRefused, MessageError."""
        pem = present.public_bytes(serialization.Encoding.PEM).decode()
        built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        ask = RenewalAsk(certificate=pem, request=request.decode())
        with self._line(self._files) as line:
            line.listen(Channel.CERTIFICATES)
            if not line.say(Channel.RENEWALS, encode_renewal(ask)):
                raise RenewalError("no hub at the broker renews certificates")
            payload = line.hear(ANSWER_S)
        if payload is None:
            raise RenewalError("the hub does not answer")
        answer = decode_renewed(payload)
        if answer.certificate is None:
            raise RenewalError(f"the hub refuses: {answer.problem}")
        return answer.certificate.encode()

    def _check(self, pem: bytes, present: x509.Certificate) -> None:
        """Raise CertificateError where a certificate is not what was asked for."""
        renewed = read_certificate(pem)
        check_signed_by(renewed, read_certificate(self._files.ca.read_bytes()))
        if renewed.public_key() != present.public_key():
            raise CertificateError("the hub's certificate is for another key")
        if common_name(renewed) != str(self._address):
            raise CertificateError("the hub's certificate is another box's")
        if lifetime(renewed).ends <= lifetime(present).ends:
            raise CertificateError("the hub's certificate ends no later than ours")

    def _install(self, pem: bytes) -> None:
        """Try the certificate at the broker, then put it in its place."""
        part = self._files.certificate.with_name("device.pem.part")
        with part.open("wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        self._try(replace(self._files, certificate=part))
        part.replace(self._files.certificate)
        _settle(part.parent)

    def _try(self, files: Certificates) -> None:
        """Raise LineRefused where the broker does not take from a certificate what is ours.

        A reply to nobody is what everybody ignores.
        """
        with self._line(files) as line:
            line.say(Channel.REPLIES, encode(Reply(ok=True, detail="a renewed certificate")))

    def _line(self, files: Certificates) -> ShortLine:
        return ShortLine(self._address, "renewal", self._host, self._port, files)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
