"""The parts of the MQTT client that device and hub share."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Certificates:
    """How the two ends of a line prove who they are: PEM files.

    ca: whose signature the broker's certificate bears. certificate, key: ours.
    """

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Give what TLS 1.2 or newer needs. Raises OSError where a file cannot be used."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_id(self, name: str) -> str:
        """Give a client id for a name: always the same, and only who holds our key can tell it.

        Who connects under another's client id takes its session over, and a broker looks at no
        certificate then. Raises OSError where the key cannot be read.
        """
        tail = hmac.new(self.key.read_bytes(), name.encode(), hashlib.sha256).hexdigest()
        return f"{name}/{tail[:32]}"


class Client(paho.Client):
    """A client that reads its certificate's file at every connect: it may have been renewed."""

    def __init__(self, name: str, certificates: Certificates | None, *, manual_ack: bool) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            name if certificates is None else certificates.client_id(name),
            protocol=paho.MQTTv5,
            manual_ack=manual_ack,
        )
        self._ours = certificates
        self._context = None if certificates is None else certificates.context()
        if self._context is not None:
            self.tls_set_context(self._context)

    def reconnect(self) -> MQTTErrorCode:
        """Connect, with the certificate that is there now."""
        if self._context is not None and self._ours is not None:
            try:
                self._context.load_cert_chain(self._ours.certificate, self._ours.key)
            except OSError as error:
                log.error("our certificate cannot be read, the last one goes on: %s", error)
        return super().reconnect()

    def hang_up(self) -> None:
        """Break the line, from any thread; it comes back by itself."""
        line = self.socket()
        if isinstance(line, socket.socket):
            with contextlib.suppress(OSError):
                # Not an SSLSocket's own: that would let what is being written go on in the clear.
                socket.socket.shutdown(line, socket.SHUT_RDWR)


def make_client(
    name: str, certificates: Certificates | None = None, *, manual_ack: bool = False
) -> Client:
    """Make an MQTT 5 client that reconnects by itself, with back-off from 1 to 30 seconds.

    It holds back nothing: who publishes bounds what is under way.
    name: another for each of our lines, and the same after a restart.
    certificates: how the two ends prove who they are; None for a line in the clear.
    manual_ack: a message that came is acknowledged when the caller says so.
    Raises OSError where the certificates cannot be used.
    """
    client = Client(name, certificates, manual_ack=manual_ack)
    client.max_inflight_messages_set(0)
    client.reconnect_delay_set(min_delay=1, max_delay=30)
    return client


def taken(message: paho.MQTTMessageInfo, within_s: float) -> bool:
    """Wait for the broker to take a message; return whether it has.

    Where the line broke before the message went out it has not: paho raises then.
    """
    try:
        message.wait_for_publish(within_s)
        return message.is_published()
    except (RuntimeError, ValueError) as error:
        log.info("a message did not go out: %s", error)
        return False


def refused(reasons: Iterable[ReasonCode]) -> str:
    """Say in words what a broker refuses of a subscription; nothing where it grants all of it."""
    why = ", ".join(str(reason) for reason in reasons if reason.is_failure)
    return f"the broker refuses our subscription: {why}" if why else ""


def connect_properties(session_expiry_s: int, receive_maximum: int | None = None) -> Properties:
    """Say how long the broker keeps our session, and how many messages we take at a time."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry_s
    if receive_maximum is not None:
        properties.ReceiveMaximum = receive_maximum
    return properties


def publish_properties(
    *,
    response_topic: str | None = None,
    correlation: bytes | None = None,
    expiry_s: int | None = None,
) -> Properties:
    """Say where an answer is wanted, which question it answers, and how long it is of use."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if response_topic is not None:
        properties.ResponseTopic = response_topic
    if correlation is not None:
        properties.CorrelationData = correlation
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    return properties
