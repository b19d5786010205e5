"""How a box's certificate is renewed without a visit: over the line that the present one opened.

A box is believed for what it can show, not for where its ask comes from: whoever holds the broker
can send anything. It shows the certificate it has, which has to be one of ours for this very box
that holds and was not revoked, and a request by the same key. The answer is a certificate for that
key, of use to nobody else. The same ask has the same answer, so that one that is lost on the way,
or that a power cut undoes, costs nothing: a certificate is renewed once.

Hubs share the subscription. Two threads: the MQTT client's, which queues asks, and the desk's.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

import paho.mqtt.client as paho
from cryptography import x509
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import SQLAlchemyError

from cloud_sync.certificate import (
    CertificateError,
    check_signed_by,
    common_name,
    lifetime,
    read_certificate,
)
from cloud_sync.hub.audit import Audit, Role, Who
from cloud_sync.hub.authority import CERTIFICATE_DAYS, AuthorityError, request_key
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.hub.fleet_tables import CertificateRow
from cloud_sync.hub.line import Line
from cloud_sync.messages import MessageError
from cloud_sync.mqtt import Certificates
from cloud_sync.renewal import RenewalAsk, Renewed, decode_renewal_ask, encode_renewal
from cloud_sync.topics import Address, Channel, every_device, parse

log = logging.getLogger(__name__)

GROUP = "renewals"
ASKS_WAITING = 1_000
NOT_BEFORE = 1 / 2
"""A certificate of which more than this share of its life is left is not renewed yet."""

DAY_S = 86_400.0


class RenewalRefused(Exception):
    """A certificate is not renewed; the text says why."""


class Renewals:
    """Decides whether a certificate is renewed, and does it. clock: Unix seconds."""

    def __init__(
        self, engine: Engine, enrolments: Enrolments, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._enrolments = enrolments
        self._audit = Audit(engine, clock)
        self._clock = clock

    def renew(self, address: Address, ask: RenewalAsk) -> bytes:
        """Give the certificate (PEM) that follows a box's present one, for as long, a year at most.

        Raises RenewalRefused, SQLAlchemyError where the database does not answer, OSError where the
        broker's files cannot be written.
        """
        present = self._checked(address, ask)
        serial = f"{present.serial_number:x}"
        whose = Who(f"the box {address}", Role.VIEWER)
        # A row that is being revoked is waited for: what is revoked is not renewed.
        held = select(CertificateRow.__table__).where(CertificateRow.serial == serial)
        next_one = select(CertificateRow.__table__).where(CertificateRow.replaces == serial)
        with self._engine.begin() as connection:
            row = connection.execute(held.with_for_update()).one_or_none()
            if row is None or Address(row.site, row.device) != address:
                raise RenewalRefused("this hub has not given that certificate to this box")
            if row.revoked_at is not None:
                raise RenewalRefused("the certificate is revoked")
            successor = connection.execute(next_one).one_or_none()
            if successor is not None and successor.revoked_at is not None:
                raise RenewalRefused("the certificate that followed it is revoked")
            if successor is not None:
                return str(successor.pem).encode()
            pem = self._issue(connection, whose, address, present, ask)
        self._enrolments.refresh()
        return pem

    def _checked(self, address: Address, ask: RenewalAsk) -> x509.Certificate:
        """Read the certificate of an ask. Raises RenewalRefused where it is not good."""
        authority = self._enrolments.authority
        try:
            present = read_certificate(ask.certificate.encode())
            check_signed_by(present, read_certificate(authority.ca_pem))
            name = common_name(present)
            key = request_key(ask.request.encode())
        except (CertificateError, AuthorityError) as error:
            raise RenewalRefused(str(error)) from error
        if name != str(address):
            raise RenewalRefused("the certificate is another box's")
        if key != present.public_key():
            raise RenewalRefused("the request is by another key than the certificate is for")
        left = lifetime(present).left(self._clock())
        if left <= 0:
            raise RenewalRefused("the certificate is over: enrol the box anew, with a code")
        if left > NOT_BEFORE:
            raise RenewalRefused("more than half of the certificate's time is left")
        return present

    def _issue(
        self, connection: Connection, who: Who, address: Address, present: x509.Certificate,
        ask: RenewalAsk,
    ) -> bytes:  # fmt: skip
        held = lifetime(present)
        days = min(CERTIFICATE_DAYS, (held.ends - held.begins) / DAY_S)
        issued = self._enrolments.authority.sign(ask.request.encode(), address, days)
        replaces = f"{present.serial_number:x}"
        connection.execute(
            insert(CertificateRow).values(
                serial=issued.serial,
                site=address.site,
                device=address.device,
                expires_at=issued.expires_at,
                replaces=replaces,
                pem=issued.pem.decode(),
            )
        )
        self._audit.write(
            connection, who, "device.renew", str(address), serial=issued.serial, replaces=replaces
        )
        return issued.pem


class RenewalDesk:
    """Answers asks for renewal at the broker. name: this hub's own, another for every hub."""

    def __init__(
        self, renewals: Renewals, host: str, port: int, name: str = "1",
        certificates: Certificates | None = None,
    ) -> None:  # fmt: skip
        self._renewals = renewals
        self._asks: queue.Queue[tuple[Address, bytes]] = queue.Queue(ASKS_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewals", daemon=True)
        self._line = Line(
            "renewing certificates", f"shelfgate-hub/{name}/renewals", host, port, certificates,
            [every_device(Channel.RENEWALS, shared_by=GROUP)], self._when_message,
        )  # fmt: skip

    @property
    def problem(self) -> str | None:
        """What keeps it from working, for a person; None where nothing does."""
        return self._line.problem

    def start(self) -> None:
        """Begin; connects whenever the broker can be reached."""
        self._thread.start()
        self._line.start()

    def stop(self) -> None:
        """End; boxes ask again."""
        self._stopping.set()
        self._thread.join()
        self._line.stop()

    # The line's thread.

    def _when_message(self, message: paho.MQTTMessage) -> None:
        try:
            self._asks.put_nowait((parse(message.topic)[0], bytes(message.payload)))
        except MessageError as error:
            log.warning("%s", error)
        except queue.Full:
            log.warning("more asks for renewal than can be answered: some are dropped")

    # The desk's thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                address, payload = self._asks.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._answer(address, self._renewals.renew(address, decode_renewal_ask(payload)))
            except MessageError as error:
                log.warning("%s: %s", address, error)
            except RenewalRefused as error:
                log.warning("%s: its certificate is not renewed: %s", address, error)
                self._say(address, Renewed(problem=str(error)[:300]))
            except (SQLAlchemyError, OSError) as error:
                # No answer: the box asks again.
                log.error("%s: its certificate is not renewed: %s", address, str(error)[:300])

    def _answer(self, address: Address, pem: bytes) -> None:
        log.info("%s: its certificate is renewed", address)
        self._say(address, Renewed(certificate=pem.decode()))

    def _say(self, address: Address, answer: Renewed) -> None:
        topic = address.topic(Channel.CERTIFICATES)
        self._line.client.publish(topic, encode_renewal(answer), qos=1)
