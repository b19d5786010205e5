"""The hub's tables.

`events` holds every entry of every device's ledger, as it came, once; carts are folds of it.
`sessions` and `devices` are read models, written in the same transactions. The migrations in
`cloud_sync/hub/migrations` make the same tables; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = String(100)
EVENT_ID = String(200)
NUMBER = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The schema; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class EventRow(Base):
    """An entry of a device's ledger; payload is the message that carried it."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("site", "device", "event_id"),
        Index("ix_events_session", "site", "device", "session"),
        Index("ix_events_item", "site", "device", "item"),
        Index("ix_events_sequence", "site", "device", "ledger", "sequence"),
    )

    id: Mapped[int] = mapped_column(NUMBER, primary_key=True, autoincrement=True)
    site: Mapped[str] = mapped_column(NAME)
    device: Mapped[str] = mapped_column(NAME)
    event_id: Mapped[str] = mapped_column(EVENT_ID)
    ledger: Mapped[str] = mapped_column(NAME)
    sequence: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(String(40))
    session: Mapped[str | None] = mapped_column(NAME)
    item: Mapped[str | None] = mapped_column(EVENT_ID)
    recorded_at: Mapped[float] = mapped_column(Float(53))
    received_at: Mapped[float] = mapped_column(Float(53))
    payload: Mapped[bytes] = mapped_column(LargeBinary)


class SessionRow(Base):
    """A shopper's visit; opened_at and closed_at are Unix seconds by the device's clock."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_closed_at", "closed_at"),)

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    session: Mapped[str] = mapped_column(NAME, primary_key=True)
    opened_at: Mapped[float | None] = mapped_column(Float(53))
    closed_at: Mapped[float | None] = mapped_column(Float(53))


class DeviceRow(Base):
    """A device as it last described itself."""

    __tablename__ = "devices"

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    online: Mapped[bool] = mapped_column(Boolean)
    at: Mapped[float] = mapped_column(Float(53))
    seen_at: Mapped[float] = mapped_column(Float(53))
    ledger: Mapped[str] = mapped_column(NAME)
    waiting: Mapped[int] = mapped_column(BigInteger)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    software: Mapped[str] = mapped_column(String(300))
    bundle: Mapped[str | None] = mapped_column(String(300))
    connection: Mapped[str | None] = mapped_column(NAME)


class LedgerRow(Base):
    """How far a device's ledger is here without a gap: every entry from 1 to upto."""

    __tablename__ = "ledgers"

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    ledger: Mapped[str] = mapped_column(NAME, primary_key=True)
    upto: Mapped[int] = mapped_column(BigInteger)
    missing: Mapped[int] = mapped_column(BigInteger)


class UnreadRow(Base):
    """A payload that this hub cannot read: of a newer schema, or broken; kept as it came.

    site to sequence: its place, where it is an entry of a device's ledger.
    """

    __tablename__ = "unread"
    __table_args__ = (Index("ix_unread_sequence", "site", "device", "ledger", "sequence"),)

    id: Mapped[int] = mapped_column(NUMBER, primary_key=True, autoincrement=True)
    topic: Mapped[str] = mapped_column(String(1_000))
    reason: Mapped[str] = mapped_column(String(1_000))
    received_at: Mapped[float] = mapped_column(Float(53))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    site: Mapped[str | None] = mapped_column(NAME)
    device: Mapped[str | None] = mapped_column(NAME)
    ledger: Mapped[str | None] = mapped_column(NAME)
    sequence: Mapped[int | None] = mapped_column(BigInteger)
