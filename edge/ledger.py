"""The device's ledger: what was booked, whose it is, and what the hub does not have yet.

Append-only, in SQLite. A booking and the outbox row that will carry it to the hub are one
transaction, and are on the disk when `book` returns. Entries are the payloads of
`cloud_sync.messages`, byte for byte as they will travel. Called by the camera threads, the page,
the commands and, for what is waiting, by `cloud_sync.device`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cloud_sync.fold import Cart, Reason, Review, Tally, nobody, review_of
from cloud_sync.messages import (
    Entry,
    ItemBooked,
    LineSettled,
    MessageError,
    Nearest,
    Provenance,
    SessionClosed,
    SessionOpened,
    encode,
    is_name,
)
from edge import ledger_rows
from edge.events import DecidedEvent, Kind
from edge.ledger_file import LedgerError, LedgerFile, LedgerFull, SessionError, SettleError
from edge.ledger_rows import Need
from edge.session import Attribution, Session, attribute, present

__all__ = [
    "Booking",
    "Ledger",
    "LedgerError",
    "LedgerFile",
    "LedgerFull",
    "Need",
    "Provenance",
    "SessionError",
    "SettleError",
]

E = TypeVar("E", bound=Entry)

CARTS_KEPT = 64
"""Running carts kept in memory; any other is added up anew when it is needed."""

NEAREST_KEPT = 5
"""Candidates of a decision that are written down."""


@dataclass(frozen=True, slots=True)
class Booking:
    """What became of an event.

    session: whose it is, None for nobody's. sku, quantity: what the gate said. amount_minor: what
    a pick was charged and a return took off at most, 0 for a review. reason: why it went to
    review, None where it is a line.
    """

    event_id: str
    sequence: int
    session: str | None
    sku: str | None
    quantity: int
    amount_minor: int
    reason: Reason | None


class Ledger:
    """One device's ledger.

    timeline: names the stream time of the events and sessions booked through this object, where
        both come from one clock; an event that is decided after its shopper has left is then still
        theirs. Left empty, stream times are not compared with each other.
    clock: Unix seconds.
    Any number of threads may share one; other processes may have their own on the same file.
    Raises LedgerError (LedgerFull where the disk is full) here and in every method.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        *,
        timeline: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not is_name(device):
            raise LedgerError(f"device id {device!r}: letters, digits and . _ : @ ~ - only")
        self._file = LedgerFile(path, device)
        self._timeline = timeline
        self._clock = clock
        self._tallies: dict[str, tuple[int, Tally]] = {}

    @property
    def ledger_id(self) -> str:
        """The id of this ledger; a wiped device gets a new one."""
        return self._file.ledger

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def open_session(self, session_id: str, at_s: float) -> Session:
        """A shopper comes in, at stream time at_s.

        Again for the same id changes nothing: the session is given as it stands, which may be
        closed, for an id is never used twice. Raises SessionError where the id is none.
        """
        if not is_name(session_id):
            raise SessionError(f"session id {session_id!r}: letters, digits and . _ : @ ~ - only")
        with self._file.transaction() as rows:
            known = ledger_rows.session(rows, session_id)
            if known is not None:
                return known
            entry = self._append(
                rows, SessionOpened, f"{session_id}/opened", session=session_id, at_s=float(at_s)
            )
            rows.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, NULL, ?)",
                (session_id, entry.sequence, entry.at_s, self._timeline),
            )
            return Session(session_id, entry.at_s, None, self._timeline)

    def close_session(self, session_id: str, at_s: float) -> Cart:
        """A shopper leaves, at stream time at_s; give the receipt.

        Again for the same id changes nothing. Raises SessionError where it was never opened.
        """
        with self._file.transaction() as rows:
            known = ledger_rows.session(rows, session_id)
            if known is None:
                raise SessionError(f"there is no session {session_id!r}")
            if known.is_open:
                cart = ledger_rows.cart(rows, session_id)
                entry = self._append(
                    rows,
                    SessionClosed,
                    f"{session_id}/closed",
                    session=session_id,
                    at_s=float(at_s),
                    total_minor=cart.total_minor,
                    currency=cart.currency,
                    reviews=len(cart.reviews),
                )
                rows.execute(
                    "UPDATE sessions SET closed_s = ? WHERE session = ?", (entry.at_s, session_id)
                )
            return ledger_rows.cart(rows, session_id)

    def open_sessions(self) -> tuple[Session, ...]:
        """Give the shoppers in the store, in the order they came."""
        with self._file.reading() as rows:
            return ledger_rows.sessions(rows, "WHERE closed_s IS NULL", ())

    def book(
        self,
        decided: DecidedEvent,
        bundle: Provenance,
        evidence: Sequence[str] = (),
        price_minor: int | None = None,
        currency: str | None = None,
    ) -> Booking | None:
        """Book an event; give None where it is booked already.

        bundle: what decided. evidence: file names, best picture first.
        price_minor, currency: what one of decision.sku costs, None where there is no price.
        """
        with self._file.transaction() as rows:
            if ledger_rows.is_booked(rows, decided.event_id):
                return None
            whose = self._attribute(rows, decided)
            tally = None if whose.session_id is None else self._tally(rows, whose.session_id)
            item = self._append(
                rows,
                ItemBooked,
                decided.event_id,
                **_item_fields(decided, whose),
                unit_price_minor=price_minor,
                currency=currency,
                evidence=tuple(evidence),
                provenance=bundle,
            )
            reason = nobody(item) if tally is None else tally.add(item)
            if reason is not None:
                ledger_rows.keep_review(rows, review_of(item, reason), item.sequence)
        if tally is not None:
            self._tallies[tally.session] = (item.sequence, tally)
        return _booking(item, reason)

    def settle(
        self,
        event_id: str,
        sku: str | None,
        session_id: str | None,
        *,
        price_minor: int | None = None,
        currency: str | None = None,
        by: str = "staff",
    ) -> None:
        """Say what an item was and whose; sku and session_id None: it was nothing to charge.

        A review becomes a line; a line is corrected. The last word counts.
        price_minor, currency: what one sku costs. by: who says so.
        Raises SettleError where there is no such item or it cannot be so, SessionError where there
        is no such session.
        """
        if (sku is None) != (session_id is None):
            raise SettleError("give a product and a session, or neither to take the item out")
        with self._file.transaction() as rows:
            if session_id is not None and ledger_rows.session(rows, session_id) is None:
                raise SessionError(f"there is no session {session_id!r}")
            before = ledger_rows.item_as_settled(rows, event_id)
            if before is None:
                raise SettleError(f"there is no item {event_id!r}")
            number = ledger_rows.settlements(rows, event_id) + 1
            self._append(
                rows,
                LineSettled,
                f"{event_id[:180]}/settled-{number}",
                item=event_id,
                session=session_id,
                sku=sku,
                unit_price_minor=price_minor,
                currency=currency,
                by=by,
            )
            ledger_rows.review_again(rows, event_id, {before.session, session_id})

    def cart(self, session_id: str) -> Cart:
        """Give a session's cart, or its receipt once it is closed.

        Raises SessionError where there is no such session.
        """
        with self._file.reading() as rows:
            if ledger_rows.session(rows, session_id) is None:
                raise SessionError(f"there is no session {session_id!r}")
            return ledger_rows.cart(rows, session_id)

    def carts(self, open_only: bool = True, limit: int = 100) -> tuple[Cart, ...]:
        """Give the carts of those in the store, or of everybody; newest session first."""
        which = "WHERE closed_s IS NULL " if open_only else ""
        with self._file.reading() as rows:
            newest = ledger_rows.sessions(rows, which, (limit,), "opened_sequence DESC LIMIT ?")
            return tuple(ledger_rows.cart(rows, one.session_id) for one in newest)

    def reviews(self, limit: int = 200) -> tuple[Review, ...]:
        """Give what waits for a person, oldest first."""
        with self._file.reading() as rows:
            return ledger_rows.reviews(rows, limit)

    def waiting(self) -> int:
        """Count the entries that the hub has not acknowledged."""
        with self._file.reading() as rows:
            return int(rows.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def evidence_need(self, event_id: str, *, unsent: bool = True) -> Need:
        """Say who still needs an event's pictures.

        unsent: there is a hub, which needs those of what it does not have.
        """
        with self._file.reading() as rows:
            return ledger_rows.evidence_need(rows, event_id, unsent)

    def _append(self, rows: sqlite3.Connection, shape: type[E], event_id: str, **fields: Any) -> E:
        entry = shape(
            event_id=event_id,
            ledger=self._file.ledger,
            sequence=ledger_rows.last_sequence(rows) + 1,
            recorded_at=self._clock(),
            **fields,
        )
        try:
            payload = encode(entry)
        except MessageError as error:
            raise LedgerError(f"event {event_id!r} cannot be booked: {error}") from error
        tag = str(shape.__struct_config__.tag)
        rows.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
            (
                entry.sequence,
                event_id,
                tag,
                getattr(entry, "session", None),
                getattr(entry, "item", None),
                payload,
            ),
        )
        rows.execute("INSERT INTO outbox VALUES (?)", (entry.sequence,))
        return entry

    def _attribute(self, rows: sqlite3.Connection, decided: DecidedEvent) -> Attribution:
        event = decided.event
        candidates = ledger_rows.sessions(
            rows,
            "WHERE closed_s IS NULL OR (timeline = ? AND closed_s >= ?)",
            (self._timeline, event.time_s),
        )
        there = present(candidates, event.time_s, self._timeline)
        sku = decided.decision.sku
        if len(there) < 2 or event.kind is not Kind.RETURN or sku is None:
            return attribute(there, decided)
        names = [one.session_id for one in there]
        holders = []
        for name in names:
            tally = self._tally(rows, name)
            self._tallies[name] = (ledger_rows.last_sequence(rows), tally)
            if tally.holds(sku) >= event.quantity:
                holders.append(name)
        unclaimed = ledger_rows.has_unclaimed_pick(rows, sku, names)
        return attribute(there, decided, holders=holders, unclaimed=unclaimed)

    def _tally(self, rows: sqlite3.Connection, name: str) -> Tally:
        """Give a session's running cart, brought up to date with the file.

        It is taken out of the cache: who adds to it puts it back once that is committed.
        """
        upto, tally = self._tallies.pop(name, (0, Tally(name)))
        last_settled = ledger_rows.last_settled(rows)
        if upto < last_settled:
            upto, tally = 0, Tally(name)
        for item in ledger_rows.items_since(rows, name, upto):
            tally.add(item)
        while len(self._tallies) >= CARTS_KEPT:
            self._tallies.pop(next(iter(self._tallies)))
        return tally


def _item_fields(decided: DecidedEvent, whose: Attribution) -> dict[str, Any]:
    event, decision = decided.event, decided.decision
    x1, y1, x2, y2 = event.box
    return {
        "kind": event.kind.value,
        "session": whose.session_id,
        "attribution": whose.reason,
        "sku": decision.sku,
        "quantity": int(event.quantity),
        "decision": decision.verdict.value,
        "distance": float(decision.distance),
        "nearest": tuple(
            Nearest(one.sku, float(one.distance)) for one in decision.nearest[:NEAREST_KEPT]
        ),
        "group": decision.group,
        "time_s": float(event.time_s),
        "decided_s": float(event.decided_s),
        "camera": event.camera,
        "zone": event.zone,
        "box": (float(x1), float(y1), float(x2), float(y2)),
    }


def _booking(item: ItemBooked, reason: Reason | None) -> Booking:
    price = 0 if reason is not None else item.unit_price_minor or 0
    return Booking(
        event_id=item.event_id,
        sequence=item.sequence,
        session=item.session,
        sku=item.sku,
        quantity=item.quantity,
        amount_minor=price * item.quantity,
        reason=reason,
    )
