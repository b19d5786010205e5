"""Give devices the blocks of the repository's files that they ask for.

Several servers may share the work: asks come by a shared subscription. Nothing is decided here: a
device verifies what it gets. A server holds at most `MOST_UNDER_WAY` bytes that the broker has not
taken, and as many asks as its queue has room for; those beyond are dropped, for a device that is
not answered asks again.

Two threads: the MQTT client's, which queues asks, and the server's, which reads and publishes.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict, deque
from typing import Any

import paho.mqtt.client as paho

from cloud_sync.blocks import Block, BlockAsk, decode_ask, encode_block, packed
from cloud_sync.hub.line import Line
from cloud_sync.hub.repository import Repository
from cloud_sync.messages import MessageError
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Address, Channel, every_device, parse
from cloud_sync.trust_keys import TrustError

log = logging.getLogger(__name__)

GROUP = "blocks"
ASKS_WAITING = 4_000
MOST_UNDER_WAY = 16 * 1024 * 1024
RENEW_S = 60.0
SAMPLE = 64 * 1024
REMEMBERED = 1_000


class BlockServer:
    """One server; name: its own, another for every server of a hub.

    start() returns at once; renews the repository's timestamp as long as it runs.
    """

    def __init__(self, repository: Repository, host: str, port: int, name: str = "1",
                 certificates: Certificates | None = None) -> None:  # fmt: skip
        self._repository = repository
        self._asks: queue.Queue[tuple[Address, BlockAsk] | None] = queue.Queue(ASKS_WAITING)
        self._under_way: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._waiting_bytes = 0
        self._pays: OrderedDict[str, bool] = OrderedDict()
        self._stopping = threading.Event()
        self.served_bytes = 0
        self._thread = threading.Thread(target=self._run, name=f"blocks-{name}", daemon=True)
        self._line = Line(
            "giving blocks", f"shelfgate-blocks/{name}", host, port, certificates,
            [every_device(Channel.ASKS, shared_by=GROUP)], self._when_message,
        )  # fmt: skip

    @property
    def problem(self) -> str | None:
        """What keeps it from working, for a person; None where nothing does."""
        return self._line.problem

    def start(self) -> None:
        """Begin; connects whenever the broker can be reached."""
        self._thread.start()
        self._line.start()

    def stop(self) -> None:
        """End; devices ask another server, or this one when it is back."""
        self._stopping.set()
        self._thread.join()
        self._line.stop()

    # The line's thread.

    def _when_message(self, message: paho.MQTTMessage) -> None:
        try:
            address, _channel = parse(message.topic)
            self._asks.put_nowait((address, decode_ask(bytes(message.payload))))
        except MessageError as error:
            log.warning("%s: %s", message.topic[:200], error)
        except queue.Full:
            log.warning("more asks than can be answered: some are dropped, and will come again")

    # The server's thread.

    def _run(self) -> None:
        renew_at = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + RENEW_S
                self._renew()
            try:
                asked = self._asks.get(timeout=0.2)
            except queue.Empty:
                continue
            if asked is not None:
                self._answer(*asked)

    def _renew(self) -> None:
        try:
            if self._repository.renew():
                log.info("timestamp signed again")
        except TrustError as error:
            log.error("the timestamp cannot be signed again: %s", error)

    def _answer(self, address: Address, ask: BlockAsk) -> None:
        topic = address.topic(Channel.BLOCKS)
        try:
            with self._repository.path_of(ask.file).open("rb") as file:
                total = file.seek(0, 2)
                pays = self._is_worth_packing(ask.file, file)
                for number in ask.numbers:
                    # Beyond the end there is nothing, and far beyond it no file can be.
                    file.seek(min(number * ask.size, total))
                    data = file.read(ask.size)
                    codec, content = packed(data) if pays else ("raw", data)
                    block = Block(file=ask.file, number=number, size=ask.size, total=total,
                                  codec=codec, data=content)  # fmt: skip
                    self._publish(topic, encode_block(block))
        except FileNotFoundError:
            missing = Block(file=ask.file, number=ask.numbers[0], size=ask.size, total=0,
                            problem="the hub has no such file")  # fmt: skip
            self._publish(topic, encode_block(missing))
        except OSError as error:
            log.error("%s: %s", ask.file, error)

    def _is_worth_packing(self, file: str, opened: Any) -> bool:
        """Say whether a file's blocks are worth compressing, by its middle; remembers it."""
        if file not in self._pays:
            size = opened.seek(0, 2)
            opened.seek(max(0, size // 2 - SAMPLE // 2))
            self._pays[file] = packed(opened.read(SAMPLE))[0] == "zlib"
            while len(self._pays) > REMEMBERED:
                self._pays.popitem(last=False)
        return self._pays[file]

    def _publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 (who misses one asks again), waiting while too much is under way."""
        while self._waiting_bytes > MOST_UNDER_WAY and not self._stopping.is_set():
            self._clear()
            time.sleep(0.002)
        self._under_way.append((self._line.client.publish(topic, payload, qos=0), len(payload)))
        self._waiting_bytes += len(payload)
        self.served_bytes += len(payload)
        self._clear()

    def _clear(self) -> None:
        while self._under_way and (
            self._under_way[0][0].rc != paho.MQTT_ERR_SUCCESS
            or self._under_way[0][0].is_published()
        ):
            self._waiting_bytes -= self._under_way.popleft()[1]
