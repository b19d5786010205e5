"""A line to the broker that lives as long as one question and its answer."""

from __future__ import annotations

import queue
import threading
import time
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from cloud_sync.mqtt import Certificates, connect_properties, make_client, refused
from cloud_sync.topics import Address, Channel

NO_MATCHING_SUBSCRIBERS = 0x10


class LineRefused(Exception):
    """The broker is away or does not let us; the text says which."""


class ShortLine:
    """A context manager, up inside. name: the line's own among the device's.

    Raises LineRefused where it does not come up, and from every method where the broker refuses.
    """

    def __init__(
        self, address: Address, name: str, host: str, port: int, certificates: Certificates,
        within_s: float = 15.0,
    ) -> None:  # fmt: skip
        self._address, self._within_s = address, within_s
        self._where = f"{host}:{port}"
        try:
            self._client = make_client(f"shelfgate/{address}/{name}", certificates)
        except OSError as error:
            raise LineRefused(f"the certificate cannot be used: {error}") from error
        self._changed = threading.Condition()
        self._connected: ReasonCode | None = None
        self._granted: str | None = None
        self._published: ReasonCode | None = None
        self._came: queue.Queue[bytes] = queue.Queue(16)
        self._problem = "does not answer"
        self._client.on_connect = self._when_connected
        self._client.on_connect_fail = lambda *_: None
        self._client.on_disconnect = self._when_disconnected
        self._client.on_subscribe = self._when_subscribed
        self._client.on_publish = self._when_published
        self._client.on_message = self._when_message
        self._client.connect_async(
            host, port, keepalive=15, clean_start=True, properties=connect_properties(0)
        )

    def __enter__(self) -> ShortLine:
        self._client.loop_start()
        if not self._waits_for(lambda: self._connected is not None):
            self._end()
            raise LineRefused(f"the broker at {self._where} {self._problem}")
        if self._connected is not None and self._connected.is_failure:
            self._end()
            raise LineRefused(f"the broker refuses us: {self._connected}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def listen(self, channel: Channel) -> None:
        """Subscribe to a channel of the device."""
        self._client.subscribe(self._address.topic(channel), qos=1)
        if not self._waits_for(lambda: self._granted is not None):
            raise LineRefused("the broker does not answer a subscription")
        if self._granted:
            raise LineRefused(self._granted)

    def say(self, channel: Channel, payload: bytes) -> bool:
        """Publish on a channel of the device; say whether anybody listens."""
        self._published = None
        self._client.publish(self._address.topic(channel), payload, qos=1)
        if not self._waits_for(lambda: self._published is not None):
            raise LineRefused("the broker does not take what we send")
        assert self._published is not None
        if self._published.is_failure:
            raise LineRefused(f"the broker refuses what we send: {self._published}")
        return bool(self._published.value != NO_MATCHING_SUBSCRIBERS)

    def hear(self, within_s: float) -> bytes | None:
        """Give the next message that comes, None where none does."""
        try:
            return self._came.get(timeout=within_s)
        except queue.Empty:
            return None

    def _waits_for(self, true: Any) -> bool:
        end = time.monotonic() + self._within_s
        with self._changed:
            return bool(self._changed.wait_for(true, max(0.0, end - time.monotonic())))

    def _end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # The MQTT client's thread.

    def _note(self, **changes: Any) -> None:
        with self._changed:
            for name, value in changes.items():
                setattr(self, f"_{name}", value)
            self._changed.notify_all()

    def _when_connected(self, _: paho.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self._note(connected=reason)

    def _when_disconnected(self, _: paho.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        # A certificate that a broker does not like is refused only after the handshake.
        self._note(problem=f"ends the line: {reason}")

    def _when_subscribed(self, _: paho.Client, __: Any, ___: int, reasons: Any, ____: Any) -> None:
        self._note(granted=refused(reasons))

    def _when_published(self, _: paho.Client, __: Any, ___: int, reason: Any, ____: Any) -> None:
        self._note(published=reason)

    def _when_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        if not self._came.full():
            self._came.put_nowait(bytes(message.payload))
