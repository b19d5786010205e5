"""Tell devices which bundle to run, and read what they say of it, straight at the broker.

The desired and the reported state of a device are retained messages: the broker has the last one of
each. Called by the `hub bundle` commands.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import paho.mqtt.client as paho

from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.messages import Desired, MessageError, Reported, decode_as, encode
from cloud_sync.mqtt import connect_properties, make_client, taken
from cloud_sync.topics import Address, Channel, every_device, parse

ANSWERS_S = 10.0


class BrokerSilent(Exception):
    """The broker does not answer; the text says which."""


def assign(
    line: BrokerLine,
    devices: Sequence[Address],
    bundle: str,
    version: int,
    before: Callable[[Desired], None] = lambda _: None,
) -> Desired:
    """Tell devices to run a bundle; `packaged 0` is the one that came with the package.

    For devices that no rollout steers: a hub that has a wish of its own for one repeats that.
    before: called once the broker answers and nobody is told yet, to write it down.
    Raises BrokerSilent, MessageError where bundle cannot be a name.
    """
    # Milliseconds grow with every change, whoever makes it.
    desired = Desired(version=int(time.time() * 1000), bundle=f"{bundle} {version}")
    payload = encode(desired)
    with _connected(line) as client:
        before(desired)
        for device in devices:
            sent = client.publish(device.topic(Channel.DESIRED), payload, qos=1, retain=True)
            if not taken(sent, ANSWERS_S):
                raise BrokerSilent(f"the broker at {line.host}:{line.port} does not take messages")
    return desired


def reported(line: BrokerLine, quiet_s: float = 1.0) -> dict[Address, Reported]:
    """Give what every device last reported: what the broker retains, until it is quiet.

    Raises BrokerSilent.
    """
    found: dict[Address, Reported] = {}
    subscribed, came = threading.Event(), threading.Event()

    def take(_: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        came.set()
        try:
            found[parse(message.topic)[0]] = decode_as(Reported, bytes(message.payload))
        except MessageError:
            return  # of a newer device, or none of ours: not for this list

    with _connected(line) as client:
        client.on_message = take
        client.on_subscribe = lambda *_: subscribed.set()
        client.subscribe(every_device(Channel.REPORTED), qos=1)
        if not subscribed.wait(ANSWERS_S):
            raise BrokerSilent(f"the broker at {line.host}:{line.port} takes no subscription")
        # What is retained follows the answer to the subscription, with no word at its end.
        until = time.monotonic() + ANSWERS_S
        while came.wait(quiet_s) and time.monotonic() < until:
            came.clear()
    return found


@contextmanager
def _connected(line: BrokerLine) -> Iterator[paho.Client]:
    client = make_client(f"shelfgate-bundles/{uuid.uuid4().hex[:12]}", line.certificates)
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set()
    try:
        client.connect(line.host, line.port, properties=connect_properties(0))
    except OSError as error:
        raise BrokerSilent(
            f"the broker at {line.host}:{line.port} does not answer: {error}"
        ) from error
    client.loop_start()
    try:
        if not ready.wait(ANSWERS_S):
            raise BrokerSilent(f"the broker at {line.host}:{line.port} does not answer")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
