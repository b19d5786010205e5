"""The hub's way to devices: commands with their answers, and wishes.

A command carries a question's number (correlation data), the device's own `replies` topic as the
place for the answer, and an expiry: one that a device would see too late is thrown away by the
broker. Thread-safe; the MQTT client's thread only files answers.
"""

from __future__ import annotations

import logging
import math
import threading
import uuid
from collections.abc import Sequence

import paho.mqtt.client as paho

from cloud_sync.hub.line import Line
from cloud_sync.hub.shadows import Wish
from cloud_sync.messages import Command, MessageError, Reply, decode_as, encode
from cloud_sync.mqtt import Certificates, publish_properties, taken
from cloud_sync.topics import Address, Channel, every_device

log = logging.getLogger(__name__)

PUBLISH_S = 10.0
NO_MATCHING_SUBSCRIBERS = 0x10


class Courier:
    """A connection to the broker for what the hub wants of devices. name: this hub's own."""

    def __init__(
        self, host: str, port: int, name: str, certificates: Certificates | None = None
    ) -> None:
        self._waiting: dict[bytes, _Question] = {}
        self._lock = threading.Lock()
        self._line = Line(
            "carrying commands", f"shelfgate-hub/{name}/courier", host, port, certificates,
            [every_device(Channel.REPLIES)], self._when_message,
        )  # fmt: skip

    def start(self) -> None:
        """Begin; connects whenever the broker can be reached."""
        self._line.start()

    def stop(self) -> None:
        """End."""
        self._line.stop()

    @property
    def is_up(self) -> bool:
        """Whether it is connected."""
        return self._line.is_up

    def ask(self, address: Address, command: Command, within_s: float) -> Reply | None:
        """Send a command and wait for the answer; None where none comes in time."""
        question = _Question()
        number = uuid.uuid4().bytes
        with self._lock:
            self._waiting[number] = question
        properties = publish_properties(
            response_topic=address.topic(Channel.REPLIES),
            correlation=number,
            expiry_s=max(1, math.ceil(within_s)),
        )
        try:
            if not self.is_up:
                return None
            topic = address.topic(Channel.COMMANDS)
            self._line.client.publish(topic, encode(command), qos=1, properties=properties)
            question.answered.wait(within_s)
            return question.reply
        finally:
            with self._lock:
                del self._waiting[number]

    def publish_wishes(self, wishes: Sequence[Wish]) -> list[Wish]:
        """Put wishes down at the broker, retained; give those that it has taken."""
        if not self.is_up:
            return []
        under_way = []
        for one in wishes:
            topic = one.address.topic(Channel.DESIRED)
            under_way.append(
                (one, self._line.client.publish(topic, encode(one.desired), qos=1, retain=True))
            )
        put_down = []
        for one, message in under_way:
            if taken(message, PUBLISH_S):
                put_down.append(one)
            else:
                log.warning("a wish for %s was not published", one.address)
        return put_down

    def _when_message(self, message: paho.MQTTMessage) -> None:
        number = getattr(message.properties, "CorrelationData", None)
        with self._lock:
            question = self._waiting.get(number) if number is not None else None
        if question is None:
            return
        try:
            question.reply = decode_as(Reply, bytes(message.payload))
        except MessageError as error:
            question.reply = Reply(ok=False, detail=f"an answer that cannot be read: {error}"[:500])
        question.answered.set()


class _Question:
    def __init__(self) -> None:
        self.answered = threading.Event()
        self.reply: Reply | None = None
