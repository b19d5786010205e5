"""A line from the hub to its broker, and a word for what is wrong with it.

It comes up whenever the broker can be reached, takes its subscriptions out anew each time, and
leaves no session behind: what was under way devices send, or ask for, again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud_sync.mqtt import Certificates, connect_properties, make_client, refused

log = logging.getLogger(__name__)

AT_LEAST_ONCE = SubscribeOptions(qos=1)

Receive = Callable[[paho.MQTTMessage], None]


class Line:
    """One client. Its callbacks run in a thread of its own.

    what: does what, for the log: "taking events". name: another for each line of each hub, and the
    same after a restart. topics: what it subscribes to. receive: is given every message. when_up:
    called whenever it comes up. receive_maximum: how many may come unacknowledged, None for as many
    as the broker likes. manual_ack: the receiver acknowledges, by `client.ack`.
    problem: what keeps it from working, for a person; None where nothing does.
    connections: how often it has come up.
    """

    def __init__(
        self,
        what: str,
        name: str,
        host: str,
        port: int,
        certificates: Certificates | None,
        topics: Iterable[str],
        receive: Receive,
        *,
        when_up: Callable[[], None] = lambda: None,
        receive_maximum: int | None = None,
        manual_ack: bool = False,
    ) -> None:
        self._what = what
        self._host, self._port = host, port
        self._topics = [(topic, AT_LEAST_ONCE) for topic in topics]
        self._receive, self._when_up = receive, when_up
        self._receive_maximum = receive_maximum
        self._stopping = False
        self.problem: str | None = "not connected to the broker yet"
        self.connections = 0
        self.client = make_client(name, certificates, manual_ack=manual_ack)
        self.client.on_connect = self._when_connected
        self.client.on_connect_fail = self._when_no_answer
        self.client.on_subscribe = self._when_subscribed
        self.client.on_disconnect = self._when_disconnected
        self.client.on_message = lambda _, __, message: self._receive(message)

    @property
    def is_up(self) -> bool:
        """Whether it is connected."""
        return bool(self.client.is_connected())

    def start(self) -> None:
        """Begin; returns at once."""
        self.client.connect_async(
            self._host,
            self._port,
            keepalive=15,
            clean_start=True,
            properties=connect_properties(0, self._receive_maximum),
        )
        self.client.loop_start()

    def stop(self) -> None:
        """End."""
        self._stopping = True
        self.client.disconnect()
        self.client.loop_stop()
        self.problem = "stopped"

    def _when_connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        # What was to go out on the line before says nothing to anybody now.
        client.drop_out_messages()
        if reason.is_failure:
            self._has(f"the broker refuses us: {reason}")
            return
        self.connections += 1
        self._when_up()
        client.subscribe(self._topics)

    def _when_subscribed(self, _: paho.Client, __: Any, ___: int, reasons: Any, ____: Any) -> None:
        if problem := refused(reasons):
            self._has(problem)
        elif self.problem is not None:
            self.problem = None
            log.info("%s at the broker %s:%d", self._what, self._host, self._port)

    def _when_disconnected(self, _: paho.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self.problem = f"the line to the broker broke: {reason}"
        if not self._stopping:
            log.warning("%s: %s", self._what, self.problem)

    def _when_no_answer(self, _: paho.Client, __: Any) -> None:
        self.problem = f"the broker at {self._host}:{self._port} does not answer"

    def _has(self, problem: str) -> None:
        self.problem = problem
        log.error("%s: %s", self._what, problem)
