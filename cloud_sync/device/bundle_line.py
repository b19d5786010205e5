"""The device's second line to the broker: asks for blocks out, blocks in.

A connection of its own, so that a cart never waits behind a block. It needs nothing of the broker:
blocks that were lost are asked for again. Blocks wait in a queue of `BLOCKS_WAITING`; those beyond
are dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

import paho.mqtt.client as paho

from cloud_sync.blocks import Block, BlockAsk, decode_block, encode_ask
from cloud_sync.messages import MessageError
from cloud_sync.mqtt import Certificates, connect_properties, make_client, refused
from cloud_sync.topics import Address, Channel

log = logging.getLogger(__name__)

BLOCKS_WAITING = 64


class BundleLine:
    """One device's line; start() returns at once and connects whenever the broker can be reached.

    certificates: how the two ends prove who they are; None for a line in the clear.
    received_bytes, sent_bytes: payloads of blocks and asks, since it was made.
    Raises MessageError where site or device cannot be names.
    """

    def __init__(
        self, address: Address, host: str, port: int, certificates: Certificates | None = None
    ) -> None:
        self._address = address
        self._host, self._port = host, port
        self._blocks: queue.Queue[Block] = queue.Queue(BLOCKS_WAITING)
        self._happened = threading.Event()
        self._up = False
        self.connections = 0
        self.received_bytes = self.sent_bytes = 0
        name = f"shelfgate/{address.site}/{address.device}/bundles"
        self._client = make_client(name, certificates)
        self._client.on_connect = self._when_connected
        self._client.on_subscribe = self._when_subscribed
        self._client.on_disconnect = self._when_disconnected
        self._client.on_message = self._when_message

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        return self._up

    def start(self) -> None:
        """Begin."""
        self._client.connect_async(
            self._host, self._port, keepalive=15, clean_start=True, properties=connect_properties(0)
        )
        self._client.loop_start()

    def stop(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()
        self._up = False

    def come_anew(self) -> None:
        """Break the line; it comes back with the certificate that is there then."""
        self._client.hang_up()

    def wait(self, within_s: float) -> None:
        """Wait to be woken, or for the line to come up, for so long at most."""
        if self._happened.wait(within_s):
            self._happened.clear()

    def wake(self) -> None:
        """End a wait now."""
        self._happened.set()

    def ask(self, ask: BlockAsk) -> bool:
        """Ask for blocks; False where the line does not take it now."""
        payload = encode_ask(ask)
        self.sent_bytes += len(payload)
        topic = self._address.topic(Channel.ASKS)
        return self._up and self._client.publish(topic, payload, qos=0).rc == paho.MQTT_ERR_SUCCESS

    def next_block(self, within_s: float) -> Block | None:
        """Give the next block that came, None where none did."""
        try:
            return self._blocks.get(timeout=within_s)
        except queue.Empty:
            return None

    # The MQTT client's thread.

    def _when_connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            log.error("the broker refuses the line for bundles: %s", reason)
            return
        client.subscribe(self._address.topic(Channel.BLOCKS), qos=0)
        self.connections += 1
        self._up = True
        self._happened.set()

    def _when_subscribed(self, _: paho.Client, __: Any, ___: int, reasons: Any, ____: Any) -> None:
        if problem := refused(reasons):
            log.error("blocks: %s", problem)

    def _when_disconnected(self, _: paho.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self._up = False
        if reason.is_failure:
            log.info("the line for bundles broke: %s", reason)

    def _when_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        self.received_bytes += len(message.payload)
        try:
            self._blocks.put_nowait(decode_block(message.payload))
        except MessageError as error:
            log.warning("%s: %s", message.topic, error)
        except queue.Full:
            return  # it is asked for again
