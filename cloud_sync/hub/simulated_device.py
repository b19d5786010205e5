"""A device as the hub sees it: honest, with an outbox, and with bad days; nothing behind it.

Its ledger counts without gaps, an entry stays in the outbox until the hub's own acknowledgement,
and what is asked for again is sent again. It runs a bundle the way a box does: fetches it, tries
it, reports, and goes back by itself where it is bad. Driven by `fleet_simulator`, in one thread.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho

from cloud_sync.messages import (
    Ack,
    Desired,
    Entry,
    ItemBooked,
    MessageError,
    Provenance,
    Reply,
    Reported,
    Resend,
    SessionClosed,
    SessionOpened,
    Telemetry,
    decode,
    encode,
)
from cloud_sync.mqtt import Certificates, connect_properties, make_client, publish_properties
from cloud_sync.topics import Address, Channel

WINDOW = 100
RESEND_S = 15.0
VISIT = 12
KEPT_MOST = 2_000
"""Entries that are remembered after their acknowledgement, for a hub that asks again."""

Later = Callable[[float, Callable[[], None]], None]


class SimulatedDevice:
    """One device.

    later: calls something after so many seconds. is_bad: whether a bundle fails on this device,
    asked at the end of its probation. ran: told of every bundle that was switched to.
    fetch_s: how long a bundle takes to fetch, and as long again to try.
    """

    def __init__(
        self,
        address: Address,
        chance: random.Random,
        later: Later,
        is_bad: Callable[[Address, str], bool],
        ran: Callable[[Address, str], None],
        *,
        bundle: str = "first 1",
        fetch_s: float = 1.0,
        certificates: Certificates | None = None,
    ) -> None:
        self.address = address
        self.bundle = bundle
        self.ledger = uuid.UUID(int=chance.getrandbits(128)).hex
        self.sequence = 0
        self.up = False
        self._chance, self._later, self._is_bad, self._ran = chance, later, is_bad, ran
        self._fetch_s = fetch_s
        self._entries: dict[int, bytes] = {}
        self.waiting: dict[int, float] = {}
        self._session = ""
        self._desired = 0
        self._failed: str | None = None
        self._reported = Reported(bundle=bundle)
        self._connection = ""
        self.client = make_client(f"shelfgate/{address.site}/{address.device}", certificates)
        self.client.on_connect = self._when_connected
        self.client.on_disconnect = self._when_disconnected
        self.client.on_message = self._when_message

    def connect(self, host: str, port: int) -> None:
        """Go online. Raises OSError where the broker does not answer."""
        self._connection = f"c-{self._chance.getrandbits(60):x}"
        will = encode(self._telemetry(online=False))
        self.client.will_set(self.address.topic(Channel.TELEMETRY), will, qos=1, retain=True)
        self.client.connect(
            host, port, keepalive=60, clean_start=False, properties=connect_properties(7 * 86_400)
        )

    def vanish(self) -> None:
        """Go offline as a cut line does: without a word."""
        line = self.client.socket()
        if isinstance(line, socket.socket):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def book(self) -> None:
        """Book the next entry of a visit: it opens, things are taken, it closes."""
        self.sequence += 1
        step = self.sequence % VISIT
        head: dict[str, Any] = {
            "event_id": f"{self.ledger[:8]}-{self.sequence}",
            "ledger": self.ledger,
            "sequence": self.sequence,
            "recorded_at": time.time(),
        }
        entry: Entry
        if step == 1:
            self._session = f"visit-{self.ledger[:8]}-{self.sequence}"
            entry = SessionOpened(**head, session=self._session, at_s=float(self.sequence))
        elif step == 0:
            entry = SessionClosed(
                **head,
                session=self._session,
                at_s=float(self.sequence),
                total_minor=150 * (VISIT - 2),
                currency="EUR",
                reviews=0,
            )
        else:
            entry = _item(head, self._session, self.sequence)
        payload = encode(entry)
        self._entries[self.sequence] = payload
        self.waiting[self.sequence] = 0.0
        self.send()

    def send(self) -> None:
        """Send what the window has room for."""
        if not self.up:
            return
        now = time.monotonic()
        topic = self.address.topic(Channel.EVENTS)
        for sequence in list(self.waiting)[:WINDOW]:
            if now - self.waiting[sequence] > RESEND_S:
                self.waiting[sequence] = now
                self.client.publish(topic, self._entries[sequence], qos=1)

    def tell(self) -> None:
        """Publish how it is."""
        if self.up:
            topic = self.address.topic(Channel.TELEMETRY)
            self.client.publish(topic, encode(self._telemetry(online=True)), qos=1, retain=True)

    def _telemetry(self, online: bool) -> Telemetry:
        return Telemetry(
            online=online,
            connection=self._connection,
            at=time.time(),
            ledger=self.ledger,
            waiting=len(self.waiting),
            last_sequence=self.sequence,
            software="simulated",
            bundle=self.bundle,
        )

    def _when_connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        client.drop_out_messages()
        if reason.is_failure:
            return
        self.up = True
        channels = (Channel.ACKS, Channel.COMMANDS, Channel.DESIRED)
        client.subscribe([(self.address.topic(one), 1) for one in channels])
        self.waiting = dict.fromkeys(self.waiting, 0.0)
        self.tell()
        self._report()
        self.send()

    def _when_disconnected(self, *_: Any) -> None:
        self.up = False

    def _when_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        try:
            said = decode(bytes(message.payload))
        except MessageError:
            return
        if isinstance(said, Ack):
            self._acknowledged(said)
        elif isinstance(said, Resend):
            self._again(said)
        elif isinstance(said, Desired):
            self._want(said)
        else:
            reply_to = getattr(message.properties, "ResponseTopic", None)
            number = getattr(message.properties, "CorrelationData", None)
            topic = reply_to or self.address.topic(Channel.REPLIES)
            properties = publish_properties(correlation=number, expiry_s=300)
            self.client.publish(topic, encode(Reply(ok=True)), qos=1, properties=properties)

    def _acknowledged(self, ack: Ack) -> None:
        if ack.ledger == self.ledger:
            for first, last in ack.ranges:
                for sequence in range(first, min(last, self.sequence) + 1):
                    self.waiting.pop(sequence, None)
            for old in list(self._entries)[: max(0, len(self._entries) - KEPT_MOST)]:
                if old not in self.waiting:
                    del self._entries[old]
            self.send()

    def _again(self, resend: Resend) -> None:
        if resend.ledger == self.ledger:
            for first, last in resend.ranges:
                for sequence in range(first, min(last, self.sequence) + 1):
                    if sequence in self._entries:
                        self.waiting.setdefault(sequence, 0.0)
            self.waiting = dict(sorted(self.waiting.items()))
            self.send()

    def _want(self, desired: Desired) -> None:
        if desired.version <= self._desired:
            return
        self._desired = desired.version
        bundle = desired.bundle
        if bundle is None or bundle == self.bundle or bundle == self._failed:
            state = "failed" if bundle is not None and bundle == self._failed else "running"
            self._report(state=state)
            return
        self._report(state="downloading")
        self._later(self._fetch_s, lambda: self._install(bundle, desired.version))

    def _install(self, bundle: str, version: int) -> None:
        if version != self._desired:
            return
        before, self.bundle = self.bundle, bundle
        self._ran(self.address, bundle)
        self._report(state="probation")
        self._later(self._fetch_s, lambda: self._judge(before, bundle, version))

    def _judge(self, before: str, bundle: str, version: int) -> None:
        if self._is_bad(self.address, bundle):
            self.bundle, self._failed = before, bundle
            self._report(
                state="failed", failed_bundle=bundle, detail="too many unknown products since"
            )
        elif version == self._desired:
            self._report(state="running")

    def _report(self, **changes: Any) -> None:
        fields = {"state": self._reported.state, "failed_bundle": self._failed, **changes}
        self._reported = Reported(desired_version=self._desired, bundle=self.bundle, **fields)
        if self.up:
            topic = self.address.topic(Channel.REPORTED)
            self.client.publish(topic, encode(self._reported), qos=1, retain=True)
            self.tell()


def _item(head: dict[str, Any], session: str, number: int) -> ItemBooked:
    return ItemBooked(
        **head,
        kind="pick",
        session=session,
        attribution="only_session",
        sku="cola",
        quantity=1,
        decision="accept",
        distance=0.125,
        nearest=(),
        group="all",
        unit_price_minor=150,
        currency="EUR",
        time_s=float(number),
        decided_s=float(number),
        camera="cam-1",
        zone="shelf-1",
        box=(1.0, 2.0, 3.0, 4.0),
        evidence=(),
        provenance=Provenance(bundle="b", bundle_version="1", model="m", table="t"),
    )
