"""Many simulated devices with real MQTT connections, in one thread, to size a hub and a broker.

One selector over all their sockets, and one heap of what is due: bookings, bursts, telemetry,
offline spells, and the steps of installing a bundle.
"""

from __future__ import annotations

import heapq
import itertools
import random
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloud_sync.hub.simulated_device import SimulatedDevice
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Address

LOOK_S = 0.05
MISC_S = 2.0
CONNECT_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Manners:
    """How the devices behave.

    events_per_min: bookings of a device, on average. burst: share of the bookings that bring ten.
    offline_per_h: offline spells of a device, on average; offline_s: how long one lasts.
    telemetry_s: how often it says how it is. fetch_s: how long a bundle takes.
    """

    events_per_min: float = 2.0
    burst: float = 0.05
    offline_per_h: float = 2.0
    offline_s: float = 30.0
    telemetry_s: float = 30.0
    fetch_s: float = 1.0


@dataclass(frozen=True, slots=True)
class FleetState:
    """How the fleet is: devices connected, entries booked in all, and not acknowledged yet."""

    devices: int
    up: int
    booked: int
    waiting: int


class FleetSimulator:
    """A fleet; start it, look at it, stop it.

    is_bad: whether a bundle fails on a device. seed: the same fleet behaves the same.
    """

    def __init__(
        self,
        devices: int,
        host: str,
        port: int,
        manners: Manners | None = None,
        *,
        is_bad: Callable[[Address, str], bool] = lambda _, __: False,
        bundle: str = "first 1",
        site_size: int = 10,
        seed: int = 1,
        certificates: Certificates | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._manners = manners or Manners()
        self._chance = random.Random(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._books = True
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        self.ran: dict[str, set[Address]] = {}
        self.held: set[Address] = set()
        self.devices = [
            SimulatedDevice(
                Address(f"store-{number // site_size + 1}", f"box-{number + 1}"),
                random.Random(f"{seed}/{number}"),
                self._later,
                is_bad,
                self._note_ran,
                bundle=bundle,
                fetch_s=self._manners.fetch_s,
                certificates=certificates,
            )
            for number in range(devices)
        ]
        for device in self.devices:
            device.client.on_socket_close = partial(self._when_closed, device)

    @property
    def state(self) -> FleetState:
        """How the fleet is; safe to read from any thread."""
        return FleetState(
            devices=len(self.devices),
            up=sum(one.up for one in self.devices),
            booked=sum(one.sequence for one in self.devices),
            waiting=sum(len(one.waiting) for one in self.devices),
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; connections break as they do when power is cut."""
        self._stopping.set()
        self._thread.join()
        for device in self.devices:
            device.vanish()
        self._selector.close()

    def book_no_more(self) -> None:
        """Let no device book any more, nor go offline; what is booked still goes to the hub."""
        self._books = False
        self.held.clear()

    def hold_offline(self, device: SimulatedDevice) -> None:
        """Cut a device off, and keep it so until it is let go."""
        self.held.add(device.address)
        self._later(0.0, device.vanish)

    def let_go(self, device: SimulatedDevice) -> None:
        """Let it connect again."""
        self.held.discard(device.address)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), act))

    def _note_ran(self, address: Address, bundle: str) -> None:
        self.ran.setdefault(bundle, set()).add(address)

    def _run(self) -> None:
        for number, device in enumerate(self.devices):
            self._later(number * 0.002, partial(self._connect, device))
            self._later(self._wait_for_booking(), partial(self._book, device))
            self._later(self._wait_for_spell(), partial(self._spell, device))
        misc_at = 0.0
        while not self._stopping.is_set():
            self._serve_sockets()
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            if now >= misc_at:
                misc_at = now + MISC_S
                for device in self.devices:
                    device.client.loop_misc()
                    device.send()

    def _serve_sockets(self) -> None:
        for key, events in self._selector.select(LOOK_S):
            device: SimulatedDevice = key.data
            if events & selectors.EVENT_READ:
                device.client.loop_read()
            if device.client.want_write():
                device.client.loop_write()

    def _when_closed(self, device: SimulatedDevice, _: Any, __: Any, line: Any) -> None:
        """Let go of a socket before it is closed: its number is another's the moment after."""
        try:
            self._selector.unregister(line)
        except (KeyError, ValueError):
            return  # it never came up, and who was about to connect tries again
        self._later(CONNECT_AGAIN_S, partial(self._connect, device))

    def _connect(self, device: SimulatedDevice) -> None:
        if device.client.socket() is not None:
            return
        try:
            if device.address in self.held:
                raise OSError("held offline")
            device.connect(self._host, self._port)
            line = device.client.socket()
            assert line is not None
            self._selector.register(line, selectors.EVENT_READ, device)
        except OSError:
            self._later(CONNECT_AGAIN_S, lambda: self._connect(device))
            return
        self._later(self._manners.telemetry_s, lambda: self._tell(device, device.client.socket()))

    def _tell(self, device: SimulatedDevice, connection: object) -> None:
        if device.client.socket() is connection:
            device.tell()
            self._later(self._manners.telemetry_s, lambda: self._tell(device, connection))

    def _book(self, device: SimulatedDevice) -> None:
        if not self._books:
            return
        for _ in range(10 if self._chance.random() < self._manners.burst else 1):
            device.book()
        self._later(self._wait_for_booking(), lambda: self._book(device))

    def _spell(self, device: SimulatedDevice) -> None:
        if not self._books:
            return
        self.held.add(device.address)
        device.vanish()
        back_s = self._chance.expovariate(1.0 / self._manners.offline_s)
        self._later(back_s, lambda: self.held.discard(device.address))
        self._later(self._wait_for_spell(), lambda: self._spell(device))

    def _wait_for_booking(self) -> float:
        per_s = self._manners.events_per_min / 60.0
        return self._chance.expovariate(per_s) if per_s else 10**9

    def _wait_for_spell(self) -> float:
        per_s = self._manners.offline_per_h / 3_600.0
        return self._chance.expovariate(per_s) if per_s else 10**9
