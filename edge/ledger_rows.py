"""What is asked of a ledger's file, and its read models; called inside its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from enum import IntEnum

import msgspec

from cloud_sync.fold import Cart, Review, as_settled, fold, in_order
from cloud_sync.messages import (
    ItemBooked,
    LedgerEntry,
    LineSettled,
    SessionClosed,
    SessionOpened,
    Unread,
    decode,
)
from edge.ledger_file import LedgerError, SettleError
from edge.session import Session

OF_SESSION = """
WITH items AS (
    SELECT event_id FROM entries WHERE session = :session AND type = 'item'
    UNION SELECT item FROM entries WHERE session = :session AND item IS NOT NULL
)
SELECT payload FROM entries WHERE session = :session
UNION SELECT payload FROM entries WHERE event_id IN items
UNION SELECT payload FROM entries WHERE item IN items
"""
"""A session's own entries, the items settled into it, and every settlement of either."""

EVIDENCE_NEED = """
WITH about AS (SELECT sequence, session FROM entries WHERE event_id = :event OR item = :event)
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM reviews WHERE event_id = :event) THEN 3
    WHEN EXISTS (SELECT 1 FROM about JOIN sessions USING (session) WHERE closed_s IS NULL) THEN 2
    WHEN :unsent AND EXISTS (SELECT 1 FROM about JOIN outbox USING (sequence)) THEN 1
    ELSE 0
END
"""


class Need(IntEnum):
    """Who still needs an event's pictures; where they have to go, a lower one goes first."""

    NOBODY = 0
    HUB = 1  # the hub does not have the event yet, or not a person's word on it
    CART = 2  # it is in the cart of somebody who is in the store
    PERSON = 3  # it waits for a person


def is_booked(rows: sqlite3.Connection, event_id: str) -> bool:
    """Say whether an entry of this id is there."""
    found = rows.execute("SELECT 1 FROM entries WHERE event_id = ?", (event_id,)).fetchone()
    return found is not None


def evidence_need(rows: sqlite3.Connection, event_id: str, unsent: bool) -> Need:
    """Say who needs an event's pictures; with unsent, the hub needs what it does not have."""
    (found,) = rows.execute(EVIDENCE_NEED, {"event": event_id, "unsent": unsent}).fetchone()
    return Need(found)


def session(rows: sqlite3.Connection, session_id: str) -> Session | None:
    """Give one session, None where there is none of that id."""
    found = sessions(rows, "WHERE session = ?", (session_id,))
    return found[0] if found else None


def sessions(
    rows: sqlite3.Connection, which: str, values: tuple[object, ...], order: str = "opened_sequence"
) -> tuple[Session, ...]:
    """Give the sessions of an SQL condition."""
    found = rows.execute(
        f"SELECT session, opened_s, closed_s, timeline FROM sessions {which} ORDER BY {order}",
        values,
    )
    return tuple(Session(*row) for row in found)


def cart(rows: sqlite3.Connection, session_id: str) -> Cart:
    """Add up one session's cart from its entries."""
    found = rows.execute(OF_SESSION, {"session": session_id})
    return fold(session_id, _entries(payload for (payload,) in found))


def items_since(rows: sqlite3.Connection, session_id: str, sequence: int) -> list[ItemBooked]:
    """Give a session's items after a place in the ledger, as they count now.

    sequence: 0 for all; else nothing may have been settled after it.
    """
    if sequence == 0:
        found = rows.execute(OF_SESSION, {"session": session_id})
        items = as_settled(in_order(_entries(payload for (payload,) in found)))
        return [item for item in items if item.session == session_id]
    later = rows.execute(
        "SELECT payload FROM entries WHERE session = ? AND sequence > ? ORDER BY sequence",
        (session_id, sequence),
    )
    entries = _entries(payload for (payload,) in later)
    return [entry for entry in entries if isinstance(entry, ItemBooked)]


def item_as_settled(rows: sqlite3.Connection, event_id: str) -> ItemBooked | None:
    """Give an item as it counts now; as it was booked where it was taken out; None if unknown."""
    found = rows.execute(
        "SELECT payload FROM entries WHERE (event_id = ? AND type = 'item') OR item = ?",
        (event_id, event_id),
    )
    entries = in_order(_entries(payload for (payload,) in found))
    settled = as_settled(entries)
    if settled:
        return settled[0]
    return next((entry for entry in entries if isinstance(entry, ItemBooked)), None)


def settlements(rows: sqlite3.Connection, event_id: str) -> int:
    """Count how often an item was settled."""
    (count,) = rows.execute("SELECT count(*) FROM entries WHERE item = ?", (event_id,)).fetchone()
    return int(count)


def last_sequence(rows: sqlite3.Connection) -> int:
    """Give the number of the newest entry, 0 for an empty ledger."""
    (last,) = rows.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()
    return int(last)


def last_settled(rows: sqlite3.Connection) -> int:
    """Give the place of the last settlement in the ledger, 0 before the first."""
    (last,) = rows.execute(
        # Left to itself SQLite walks the whole ledger backwards where nothing was settled yet.
        "SELECT coalesce(max(sequence), 0) FROM entries INDEXED BY entries_item "
        "WHERE item IS NOT NULL"
    ).fetchone()
    return int(last)


def reviews(rows: sqlite3.Connection, limit: int) -> tuple[Review, ...]:
    """Give what waits for a person, oldest first."""
    found = rows.execute("SELECT review FROM reviews ORDER BY sequence LIMIT ?", (limit,))
    return tuple(msgspec.json.decode(blob, type=Review) for (blob,) in found)


def keep_review(rows: sqlite3.Connection, review: Review, sequence: int) -> None:
    """Put an item on the review list."""
    rows.execute(
        "INSERT INTO reviews VALUES (?, ?, ?, ?)",
        (review.event_id, sequence, review.session, msgspec.json.encode(review)),
    )


def review_again(
    rows: sqlite3.Connection, event_id: str, session_ids: Collection[str | None]
) -> None:
    """Make the review list right again after an item was settled.

    session_ids: those that lost the item and gained it.
    Raises SettleError where the item cannot be so.
    """
    rows.execute("DELETE FROM reviews WHERE event_id = ?", (event_id,))
    for session_id in sorted(one for one in session_ids if one is not None):
        rows.execute("DELETE FROM reviews WHERE session = ?", (session_id,))
        for review in cart(rows, session_id).reviews:
            if review.event_id == event_id:
                raise SettleError(
                    f"item {event_id!r} cannot be settled as {review.sku!r} in session "
                    f"{session_id!r}: {review.reason.value.replace('_', ' ')}"
                )
            found = rows.execute(
                "SELECT sequence FROM entries WHERE event_id = ?", (review.event_id,)
            )
            keep_review(rows, review, int(found.fetchone()[0]))


def has_unclaimed_pick(rows: sqlite3.Connection, sku: str, session_ids: Collection[str]) -> bool:
    """Say whether a pick that waits for review may have been of this product, and brought back.

    session_ids: the shoppers who are there; picks from before the first of them came do not count.
    """
    marks = ", ".join("?" for _ in session_ids)
    found = rows.execute(
        f"SELECT review FROM reviews WHERE (session IS NULL OR session IN ({marks})) AND sequence "
        f"> (SELECT min(opened_sequence) FROM sessions WHERE session IN ({marks}))",
        (*session_ids, *session_ids),
    )
    waiting = (msgspec.json.decode(blob, type=Review) for (blob,) in found)
    return any(one.kind == "pick" and one.sku in (None, sku) for one in waiting)


def _entries(payloads: Iterable[bytes]) -> list[LedgerEntry]:
    return [_entry(payload) for payload in payloads]


def _entry(payload: bytes) -> LedgerEntry:
    entry = decode(payload)
    if isinstance(entry, SessionOpened | SessionClosed | ItemBooked | LineSettled):
        return entry
    kind = entry.head.type if isinstance(entry, Unread) else type(entry).__name__
    raise LedgerError(f"an entry of the ledger cannot be read by this version: {kind}")
