"""The hub's ingest worker: from the broker to the database, and the acknowledgements back.

A device's entry is acknowledged after the commit that holds it, never before: to the broker, which
may then forget it, and to the device, which then takes it out of its outbox. Workers share one
subscription, so that more workers are more throughput; the broker gives each only as many messages
as it has room for.

Two threads: the MQTT client's, which queues what comes (at most `BATCH_MOST` twice, the receive
maximum bounds it), and the worker's, which writes and acknowledges.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import paho.mqtt.client as paho
from sqlalchemy.exc import SQLAlchemyError

from cloud_sync.hub.line import Line
from cloud_sync.hub.store import Arrived, Store, Taken, ranges
from cloud_sync.messages import Ack, Resend, encode
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Channel, every_device

log = logging.getLogger(__name__)

ROSTER_S = 10.0
"""How long a worker listens to all devices, to learn how they are from what the broker retained."""

BATCH_MOST = 500
GROUP = "hub"
TAKEN = (Channel.EVENTS, Channel.TELEMETRY, Channel.REPORTED, Channel.EVIDENCE, Channel.LOG)
"""What workers share among them."""

ROSTER = (every_device(Channel.TELEMETRY), every_device(Channel.REPORTED))
"""What each worker reads at its start: a shared subscription gets no retained messages."""

LOOK_S = 1.0
PAUSE_MOST_S = 30.0


@dataclass(frozen=True, slots=True)
class _Delivery:
    arrived: Arrived
    mid: int
    qos: int
    connection: int


class Ingest:
    """One worker; worker: its name, the same after a restart, another for every worker.

    store: where it writes. start() returns at once; stop() leaves the rest to the devices.
    """

    def __init__(
        self,
        store: Store,
        host: str,
        port: int,
        worker: str = "1",
        certificates: Certificates | None = None,
    ) -> None:
        self._store = store
        self._deliveries: queue.SimpleQueue[_Delivery | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._roster_until: float | None = None
        self._database_problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"ingest-{worker}", daemon=True)
        shared = [every_device(one, shared_by=GROUP) for one in TAKEN]
        self._line = Line(
            "taking events",
            f"shelfgate-hub/{worker}",
            host,
            port,
            certificates,
            [*shared, *ROSTER],
            self._when_message,
            when_up=self._read_roster,
            receive_maximum=2 * BATCH_MOST,
            manual_ack=True,
        )

    @property
    def problem(self) -> str | None:
        """What keeps it from working, for a person; None where nothing does."""
        return self._line.problem or self._database_problem

    def start(self) -> None:
        """Begin; connects whenever the broker can be reached."""
        self._thread.start()
        self._line.start()

    def stop(self) -> None:
        """End; what is not committed the devices send again."""
        self._stopping.set()
        self._deliveries.put(None)
        self._thread.join()
        self._line.stop()

    # The line's thread.

    def _read_roster(self) -> None:
        self._roster_until = time.monotonic() + ROSTER_S

    def _when_message(self, message: paho.MQTTMessage) -> None:
        arrived = Arrived(message.topic, bytes(message.payload), message.retain)
        self._deliveries.put(_Delivery(arrived, message.mid, message.qos, self._line.connections))

    # The worker's thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            batch = self._next_batch()
            self._leave_roster()
            if batch:
                taken = self._write([one.arrived for one in batch])
                if taken is not None:
                    self._acknowledge(batch, taken)

    def _next_batch(self) -> list[_Delivery]:
        batch: list[_Delivery] = []
        delivery: _Delivery | None
        try:
            delivery = self._deliveries.get(timeout=LOOK_S)
        except queue.Empty:
            delivery = None
        while delivery is not None:
            batch.append(delivery)
            if len(batch) == BATCH_MOST:
                break
            try:
                delivery = self._deliveries.get_nowait()
            except queue.Empty:
                break
        return batch

    def _leave_roster(self) -> None:
        if self._roster_until is not None and time.monotonic() > self._roster_until:
            self._roster_until = None
            self._line.client.unsubscribe(list(ROSTER))

    def _write(self, messages: list[Arrived]) -> Taken | None:
        """Write until the database takes it; None where we are told to stop before."""
        pause_s = 0.5
        while not self._stopping.is_set():
            try:
                taken = self._store.take(messages)
            except (SQLAlchemyError, OSError) as error:
                self._database_problem = f"the database does not take events: {error}"[:500]
                log.error("%s; next try in %.1f s", self._database_problem, pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MOST_S)
            else:
                self._database_problem = None
                if taken.unread:
                    log.warning("kept %d messages that cannot be read", taken.unread)
                return taken
        return None

    def _acknowledge(self, batch: Iterable[_Delivery], taken: Taken) -> None:
        for (address, ledger), sequences in taken.sequences.items():
            ack = Ack(ledger=ledger, ranges=ranges(sequences))
            # At QoS 0: a device that misses it sends again and is told again.
            self._line.client.publish(address.topic(Channel.ACKS), encode(ack), qos=0)
        for address, kept in taken.kept:
            self._line.client.publish(address.topic(Channel.ACKS), encode(kept), qos=0)
        for (address, ledger), runs in taken.missing.items():
            log.warning(
                "%s/%s: %d runs of entries are missing", address.site, address.device, len(runs)
            )
            again = Resend(ledger=ledger, ranges=runs)
            self._line.client.publish(address.topic(Channel.ACKS), encode(again), qos=0)
        for delivery in batch:
            if delivery.qos and delivery.connection == self._line.connections:
                self._line.client.ack(delivery.mid, delivery.qos)
