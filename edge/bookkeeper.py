"""Book what the cameras saw: evidence to the disk, then the event to the ledger.

One thread, so that a slow disk never holds up a camera that has nothing to book. Its queue is
bounded: a camera that has an event while it is full waits. A full disk loses nothing: the event is
tried again until there is room, and the page says so.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Protocol

from edge.events import DecidedEvent, ShelfEvent
from edge.evidence import EvidenceRefused
from edge.gate import Decision
from edge.ledger import Booking, LedgerError, Provenance
from models.bundle import Bundle

log = logging.getLogger(__name__)

QUEUE_MAX = 64
RECENT_MAX = 40
RETRY_S = 2.0
WAIT_S = 0.2
BUNDLES_KEPT = 3
"""An event is booked by the bundle that decided it, which may not be the newest any more."""


class Books(Protocol):
    """The part of `edge.ledger.Ledger` that books."""

    def book(
        self,
        decided: DecidedEvent,
        bundle: Provenance,
        evidence: Sequence[str] = (),
        price_minor: int | None = None,
        currency: str | None = None,
    ) -> Booking | None:
        """Book an event, once."""
        ...


class Evidence(Protocol):
    """Where pictures are kept: `edge.evidence.EvidenceFolder`."""

    def keep(self, event_id: str, event: ShelfEvent) -> tuple[str, ...]:
        """Write the pictures. Raises EvidenceRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Booked:
    """An event that reached the ledger; at: seconds since 1970."""

    decided: DecidedEvent
    booking: Booking
    evidence: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Charge:
    """What a bundle says of a decision: what decided, and what one of the product costs.

    price_minor, currency: None where the catalogue has no such product or no price.
    """

    provenance: Provenance
    price_minor: int | None
    currency: str | None


class Bookkeeper:
    """Takes events from any thread and books them in the order they came.

    clock: seconds since 1970, for the page. `booked`: how many events this process has booked.
    """

    def __init__(
        self, books: Books, evidence: Evidence, bundle: Bundle, clock: Callable[[], float]
    ) -> None:
        self._books = books
        self._evidence = evidence
        self._bundle = bundle
        self._decided_by = {bundle.digest: bundle}
        self._clock = clock
        self._queue: Queue[DecidedEvent] = Queue(QUEUE_MAX)
        self._recent: deque[Booked] = deque(maxlen=RECENT_MAX)
        self._lock = Lock()
        self._stopping = Event()
        self._problem = ""
        self._picture_problem = ""
        self.booked = 0
        self._thread = Thread(target=self._run, name="bookkeeper", daemon=True)

    def use(self, bundle: Bundle) -> None:
        """Book by another bundle's catalogue what that bundle decides from now on."""
        known = dict(self._decided_by)
        known.pop(bundle.digest, None)
        newest = dict(list(known.items())[-BUNDLES_KEPT + 1 :])
        self._decided_by = {**newest, bundle.digest: bundle}
        self._bundle = bundle

    @property
    def idle(self) -> bool:
        """Whether everything that was handed in is booked."""
        return self._queue.unfinished_tasks == 0

    @property
    def alive(self) -> bool:
        """Whether it is booking, however slowly."""
        return self._thread.is_alive()

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the page; empty while all is well."""
        return tuple(text for text in (self._problem, self._picture_problem) if text)

    @property
    def recent(self) -> tuple[Booked, ...]:
        """The last events booked by this process, newest first."""
        with self._lock:
            return tuple(reversed(self._recent))

    def start(self) -> None:
        """Start booking."""
        self._thread.start()

    def submit(self, decided: DecidedEvent) -> bool:
        """Hand in an event, waiting while the queue is full; False where the box is stopping."""
        while not self._stopping.is_set():
            try:
                self._queue.put(decided, timeout=WAIT_S)
            except Full:
                continue
            return True
        return False

    def stop(self) -> None:
        """Book what is in the queue, then end; an event the disk has no room for is given up."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                decided = self._queue.get(timeout=WAIT_S)
            except Empty:
                if self._stopping.is_set():
                    return
                continue
            while not self._booked(decided):
                if self._stopping.wait(RETRY_S):
                    log.error("event %s was not booked: %s", decided.event_id, self._problem)
                    break
            self._queue.task_done()

    def _booked(self, decided: DecidedEvent) -> bool:
        evidence = self._kept(decided)
        bundle = self._decided_by.get(decided.decision.bundle, self._bundle)
        charge = charge_of(bundle, decided.decision)
        try:
            booking = self._books.book(
                decided, charge.provenance, evidence, charge.price_minor, charge.currency
            )
        except LedgerError as error:
            if str(error) != self._problem:
                log.error("%s", error)
            self._problem = str(error)
            return False
        self._problem = ""
        if booking is not None:
            self.booked += 1
            with self._lock:
                self._recent.append(Booked(decided, booking, evidence, self._clock()))
        return True

    def _kept(self, decided: DecidedEvent) -> tuple[str, ...]:
        try:
            evidence = self._evidence.keep(decided.event_id, decided.event)
        except EvidenceRefused as error:
            if str(error) != self._picture_problem:
                log.warning("%s", error)
            self._picture_problem = str(error)
            return ()
        self._picture_problem = ""
        return evidence


def charge_of(bundle: Bundle, decision: Decision) -> Charge:
    """Return what a bundle says of a decision."""
    product = bundle.catalogue.get(decision.sku or "")
    try:
        model = bundle.group(decision.group).model.name
    except KeyError:
        model = "none"
    provenance = Provenance(
        bundle=bundle.bundle_id,
        bundle_version=str(bundle.version),
        model=model,
        table=f"{decision.group or 'none'}@{bundle.digest[:12]}",
    )
    if product is None:
        return Charge(provenance, None, None)
    return Charge(provenance, product.price_minor, product.currency)
