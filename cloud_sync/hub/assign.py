"""Tell devices which bundle to run, and read what they say of it, straight at the broker.

The desired and the reported state of a device are retained messages: the broker has the last one of
each. Called by the `hub bundle` commands.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import paho.mqtt.client as paho

from cloud_sync.messages import BundleDesired, BundleReported, MessageError, decode_as, encode
from cloud_sync.mqtt import connect_properties, make_client
from cloud_sync.topics import Address, Channel, every_device, parse

ANSWERS_S = 10.0


class BrokerSilent(Exception):
    """The broker does not answer; the text says which."""


def assign(
    host: str, port: int, devices: Sequence[Address], bundle: str | None, version: int
) -> BundleDesired:
    """Tell devices to run a bundle, None for the one that came with the package.

    Raises BrokerSilent, MessageError where bundle cannot be a name.
    """
    # Milliseconds grow with every change, whoever makes it.
    desired = BundleDesired(revision=int(time.time() * 1000), bundle=bundle, version=version)
    payload = encode(desired)
    with _connected(host, port) as client:
        for device in devices:
            sent = client.publish(device.topic(Channel.DESIRED), payload, qos=1, retain=True)
            sent.wait_for_publish(ANSWERS_S)
            if not sent.is_published():
                raise BrokerSilent(f"the broker at {host}:{port} does not take messages")
    return desired


def reported(host: str, port: int, wait_s: float = 1.0) -> dict[Address, BundleReported]:
    """Give what every device last reported, after waiting for what the broker retains.

    Raises BrokerSilent.
    """
    found: dict[Address, BundleReported] = {}

    def take(_: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        try:
            found[parse(message.topic)[0]] = decode_as(BundleReported, bytes(message.payload))
        except MessageError:
            return  # of a newer device, or none of ours: not for this list

    with _connected(host, port) as client:
        client.on_message = take
        client.subscribe(every_device(Channel.REPORTED), qos=1)
        time.sleep(wait_s)
    return found


@contextmanager
def _connected(host: str, port: int) -> Iterator[paho.Client]:
    client, ready = make_client(f"shelfgate-bundles/{uuid.uuid4().hex[:12]}"), threading.Event()
    client.on_connect = lambda *_: ready.set()
    try:
        client.connect(host, port, properties=connect_properties(0))
    except OSError as error:
        raise BrokerSilent(f"the broker at {host}:{port} does not answer: {error}") from error
    client.loop_start()
    try:
        if not ready.wait(ANSWERS_S):
            raise BrokerSilent(f"the broker at {host}:{port} does not answer")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
