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
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud_sync.hub.shadows import Wish
from cloud_sync.messages import Command, MessageError, Reply, decode_as, encode
from cloud_sync.mqtt import (
    Certificates,
    connect_properties,
    make_client,
    publish_properties,
    refused,
)
from cloud_sync.topics import Address, Channel, every_device

log = logging.getLogger(__name__)

PUBLISH_S = 10.0
NO_MATCHING_SUBSCRIBERS = 0x10


class Courier:
    """A connection to the broker for what the hub wants of devices. name: this hub's own."""

    def __init__(
        self, host: str, port: int, name: str, certificates: Certificates | None = None
    ) -> None:
        self._host, self._port = host, port
        self._waiting: dict[bytes, _Question] = {}
        self._lock = threading.Lock()
        self._client = make_client(f"shelfgate-hub/{name}/courier", certificates)
        self._client.on_connect = self._when_connected
        self._client.on_subscribe = self._when_subscribed
        self._client.on_disconnect = self._when_disconnected
        self._client.on_message = self._when_message

    def start(self) -> None:
        """Begin; connects whenever the broker can be reached."""
        self._client.connect_async(
            self._host, self._port, keepalive=15, clean_start=True, properties=connect_properties(0)
        )
        self._client.loop_start()

    def stop(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_up(self) -> bool:
        """Whether it is connected."""
        return bool(self._client.is_connected())

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
            self._client.publish(topic, encode(command), qos=1, properties=properties)
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
                (one, self._client.publish(topic, encode(one.desired), qos=1, retain=True))
            )
        taken = []
        for one, info in under_way:
            try:
                info.wait_for_publish(PUBLISH_S)
            except (RuntimeError, ValueError) as error:
                log.warning("a wish for %s was not published: %s", one.address, error)
                continue
            if info.is_published():
                taken.append(one)
        return taken

    def _when_connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        client.drop_out_messages()
        if reason.is_failure:
            log.error("the broker refuses the hub's courier: %s", reason)
            return
        client.subscribe([(every_device(Channel.REPLIES), SubscribeOptions(qos=1))])

    def _when_subscribed(self, _: paho.Client, __: Any, ___: int, reasons: Any, ____: Any) -> None:
        if problem := refused(reasons):
            log.error("answers: %s", problem)

    def _when_disconnected(self, _: paho.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            log.warning("the courier's line to the broker broke: %s", reason)

    def _when_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
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
