"""Read carts, receipts and events back from the hub's database.

A cart is added up from its entries when it is asked for, by the same rule as on the device.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, exists, or_, select
from sqlalchemy.orm import aliased

from cloud_sync.fold import Cart, Review, as_settled, fold, in_order, unattributed
from cloud_sync.hub.tables import EventRow, SessionRow, UnreadRow
from cloud_sync.messages import LedgerEntry, decode
from cloud_sync.topics import Address

SESSIONS = SessionRow.__table__
EVENTS = EventRow.__table__


@dataclass(frozen=True, slots=True)
class Visit:
    """A session at the hub: whose device saw it, when (Unix seconds, device's clock), its cart."""

    address: Address
    opened_at: float | None
    closed_at: float | None
    cart: Cart


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of a ledger, its row number here and when it came."""

    number: int
    address: Address
    received_at: float
    entry: LedgerEntry


class Carts:
    """Questions to the hub's database; each sees one consistent state.

    Raises sqlalchemy.exc.SQLAlchemyError where it does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, limit: int, offset: int = 0) -> list[Visit]:
        """Give the carts of those in the stores, newest first."""
        which = select(SESSIONS).where(SessionRow.closed_at.is_(None))
        return self._visits(which.order_by(SessionRow.opened_at.desc()), limit, offset)

    def receipts(self, limit: int, offset: int = 0) -> list[Visit]:
        """Give the carts of those who left, newest first."""
        which = select(SESSIONS).where(SessionRow.closed_at.is_not(None))
        return self._visits(which.order_by(SessionRow.closed_at.desc()), limit, offset)

    def of_session(
        self, session: str, site: str | None = None, device: str | None = None
    ) -> list[Visit]:
        """Give a session's carts: one, or more where several devices use the same id."""
        which = select(SESSIONS).where(SessionRow.session == session)
        if site is not None:
            which = which.where(SessionRow.site == site)
        if device is not None:
            which = which.where(SessionRow.device == device)
        return self._visits(which.order_by(SessionRow.site, SessionRow.device), 10, 0)

    def events(
        self,
        after: int,
        limit: int,
        *,
        site: str | None = None,
        device: str | None = None,
        session: str | None = None,
    ) -> list[Event]:
        """Give entries in the order they came; after: number of the last one already seen."""
        which = select(EVENTS).where(EventRow.id > after).order_by(EventRow.id).limit(limit)
        for column, value in (
            (EventRow.site, site),
            (EventRow.device, device),
            (EventRow.session, session),
        ):
            if value is not None:
                which = which.where(column == value)
        with self._engine.connect() as connection:
            rows = connection.execute(which).all()
        return [
            Event(row.id, Address(row.site, row.device), row.received_at, _entry(row.payload))
            for row in rows
        ]

    def unattributed(self, limit: int) -> list[tuple[Address, Review]]:
        """Give the newest items that belong to nobody and that nobody has settled."""
        settlement = aliased(EventRow)
        is_settled = exists().where(
            settlement.site == EventRow.site,
            settlement.device == EventRow.device,
            settlement.item == EventRow.event_id,
        )
        newest = (
            select(EVENTS)
            .where(EventRow.type == "item", EventRow.session.is_(None), ~is_settled)
            .order_by(EventRow.id.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(newest).all()
        return [
            (Address(row.site, row.device), review)
            for row in rows
            for review in unattributed([_entry(row.payload)])
        ]

    def open_reviews(self, address: Address, items: Collection[str]) -> set[str]:
        """Give those of a device's items that still wait for a person."""
        here = and_(EventRow.site == address.site, EventRow.device == address.device)
        waiting: set[str] = set()
        sessions: set[str] = set()
        with self._engine.connect() as connection:
            for names in chunks(sorted(items)):
                either = or_(EventRow.event_id.in_(names), EventRow.item.in_(names))
                payloads = connection.execute(select(EventRow.payload).where(here, either))
                for item in as_settled(in_order(map(_entry, payloads.scalars()))):
                    if item.session is None:
                        waiting.add(item.event_id)
                    else:
                        sessions.add(item.session)
            for session in sorted(sessions):
                entries = _entries(connection, address.site, address.device, session)
                waiting |= {review.event_id for review in fold(session, entries).reviews}
        return waiting.intersection(items)

    def unread(self, after: int, limit: int) -> list[UnreadRow]:
        """Give messages that could not be read; after: number of the last one already seen."""
        which = select(UnreadRow.__table__).where(UnreadRow.id > after).order_by(UnreadRow.id)
        with self._engine.connect() as connection:
            rows = connection.execute(which.limit(limit)).mappings().all()
        return [UnreadRow(**row) for row in rows]

    def _visits(self, which: Select[Any], limit: int, offset: int) -> list[Visit]:
        with self._engine.connect() as connection:
            rows = connection.execute(which.limit(limit).offset(offset)).all()
            return [
                Visit(
                    Address(row.site, row.device),
                    row.opened_at,
                    row.closed_at,
                    fold(row.session, _entries(connection, row.site, row.device, row.session)),
                )
                for row in rows
            ]


def _entries(connection: Connection, site: str, device: str, session: str) -> list[LedgerEntry]:
    """Give a session's own entries, items settled into it, and every settlement of either."""
    here = and_(EventRow.site == site, EventRow.device == device)
    own = connection.execute(
        select(EventRow.event_id, EventRow.item, EventRow.payload).where(
            here, EventRow.session == session
        )
    ).all()
    settlements_of = {row.item or row.event_id for row in own}
    payloads = [row.payload for row in own]
    for names in chunks(sorted(settlements_of)):
        more = or_(EventRow.event_id.in_(names), EventRow.item.in_(names))
        payloads += connection.execute(select(EventRow.payload).where(here, more)).scalars()
    return [_entry(payload) for payload in payloads]


def chunks(names: Sequence[str], size: int = 400) -> list[Sequence[str]]:
    """Cut a list into pieces that a database takes in one question."""
    return [names[start : start + size] for start in range(0, len(names), size)]


def _entry(payload: bytes) -> LedgerEntry:
    entry = decode(payload)
    if not isinstance(entry, LedgerEntry):
        raise TypeError(f"the events table holds a {type(entry).__name__}")
    return entry
