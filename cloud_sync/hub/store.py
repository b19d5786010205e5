"""Write what devices sent: each entry once, everything that came together in one transaction."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine
from sqlalchemy.dialects import postgresql, sqlite

from cloud_sync.hub.evidence import PictureStore
from cloud_sync.hub.fleet_tables import EvidenceRow, OverdueRow
from cloud_sync.hub.gaps import look_for_gaps
from cloud_sync.hub.shadows import note_reported
from cloud_sync.hub.tables import Base, DeviceRow, EventRow, SessionRow, UnreadRow
from cloud_sync.messages import (
    Evidence,
    EvidenceAck,
    LedgerEntry,
    LineSettled,
    MessageError,
    Reported,
    SessionClosed,
    SessionOpened,
    Telemetry,
    Unread,
    decode,
)
from cloud_sync.topics import Address, Channel, parse

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as it came; retained: the broker kept it, it may be old."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What was committed, by device and ledger.

    sequences: of the entries that came. missing: runs of entries to ask for. kept: pictures that
    are here now. unread: how many messages could not be read.
    """

    sequences: dict[tuple[Address, str], list[int]]
    missing: dict[tuple[Address, str], tuple[tuple[int, int], ...]]
    kept: list[tuple[Address, EvidenceAck]]
    unread: int


@dataclass(slots=True)
class _Batch:
    events: list[Row] = field(default_factory=list)
    opened: list[Row] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    devices: dict[tuple[str, str], Row] = field(default_factory=dict)
    wills: dict[tuple[str, str], Row] = field(default_factory=dict)
    telemetry: dict[Address, Telemetry] = field(default_factory=dict)
    reported: list[tuple[Address, Reported]] = field(default_factory=list)
    log: list[Row] = field(default_factory=list)
    evidence: list[Row] = field(default_factory=list)
    kept: list[tuple[Address, EvidenceAck]] = field(default_factory=list)
    unread: list[Row] = field(default_factory=list)
    sequences: dict[tuple[Address, str], list[int]] = field(default_factory=dict)


class Store:
    """Takes batches of messages into the database.

    clock: Unix seconds. pictures: where evidence goes; None where it is not taken.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float] = time.time,
        pictures: PictureStore | None = None,
    ) -> None:
        self._engine = engine
        self._pictures = pictures
        self._clock = clock
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def take(self, messages: Iterable[Arrived]) -> Taken:
        """Write a batch; when it returns, all of it is committed.

        An entry that is there already changes nothing, and is reported as taken: the device wants
        to know that it is here. What cannot be read is kept as it came.
        Raises sqlalchemy.exc.SQLAlchemyError where the database does not take it, OSError where a
        picture cannot be kept; then no row is written.
        """
        batch = _Batch()
        for message in messages:
            self._sort(batch, message)
        with self._engine.begin() as connection:
            # In one order, so that two workers never wait for each other's rows.
            batch.events.sort(key=lambda row: (row["site"], row["device"], row["sequence"]))
            self._once(connection, EventRow, batch.events, ("site", "device", "event_id"))
            self._upsert(connection, SessionRow, batch.opened, ("opened_at",))
            self._upsert(connection, SessionRow, batch.closed, ("closed_at",))
            self._upsert(connection, DeviceRow, list(batch.devices.values()), DEVICE_COLUMNS)
            # A will may come after the birth that follows it: it ends its own connection only.
            ends = DeviceRow.connection.is_not_distinct_from
            self._upsert(connection, DeviceRow, list(batch.wills.values()), DEVICE_COLUMNS, ends)
            note_reported(connection, batch.reported, self._clock())
            self._once(connection, OverdueRow, batch.log, ("site", "device", "at"))
            place = ("site", "device", "item", "name")
            self._once(connection, EvidenceRow, batch.evidence, place)
            self._once(connection, UnreadRow, batch.unread, ("digest",))
            missing = {
                (address, telemetry.ledger): runs
                for address, telemetry in sorted(batch.telemetry.items())
                if (runs := look_for_gaps(connection, self._insert, address, telemetry))
            }
        return Taken(batch.sequences, missing, batch.kept, len(batch.unread))

    def _sort(self, batch: _Batch, arrived: Arrived) -> None:
        try:
            address, channel = parse(arrived.topic)
            message = decode(arrived.payload)
            if isinstance(message, Unread):
                head = message.head
                reason = f"schema {head.schema}, {head.type}: newer than ours"
                place: Row = {}
                if channel is Channel.EVENTS and head.ledger and head.sequence:
                    _note(batch, address, head.ledger, head.sequence)
                    place = {"site": address.site, "device": address.device}
                    place |= {"ledger": head.ledger, "sequence": head.sequence}
                self._keep(batch, arrived, reason, place)
            elif channel is Channel.EVENTS and isinstance(message, LedgerEntry):
                self._event(batch, address, message, arrived.payload)
                _note(batch, address, message.ledger, message.sequence)
            elif channel is Channel.EVIDENCE and isinstance(message, Evidence):
                self._picture(batch, address, message)
            elif channel is Channel.LOG and isinstance(message, Telemetry):
                self._log(batch, address, message)
            elif channel is Channel.REPORTED and isinstance(message, Reported):
                batch.reported.append((address, message))
            elif channel is Channel.TELEMETRY and isinstance(message, Telemetry):
                self._device(batch, address, message, arrived.retained)
            else:
                raise MessageError(f"a {type(message).__name__} does not belong here")
        except MessageError as error:
            self._keep(batch, arrived, str(error))

    def _event(self, batch: _Batch, address: Address, entry: LedgerEntry, payload: bytes) -> None:
        whose = {"site": address.site, "device": address.device}
        batch.events.append(
            {
                **whose,
                "event_id": entry.event_id,
                "ledger": entry.ledger,
                "sequence": entry.sequence,
                "type": str(type(entry).__struct_config__.tag),
                "session": entry.session,
                "item": entry.item if isinstance(entry, LineSettled) else None,
                "recorded_at": entry.recorded_at,
                "received_at": self._clock(),
                "payload": payload,
            }
        )
        if isinstance(entry, SessionOpened):
            row = {**whose, "session": entry.session, "opened_at": entry.recorded_at}
            batch.opened.append(row)
        elif isinstance(entry, SessionClosed):
            row = {**whose, "session": entry.session, "closed_at": entry.recorded_at}
            batch.closed.append(row)

    def _device(
        self, batch: _Batch, address: Address, telemetry: Telemetry, retained: bool
    ) -> None:
        now = self._clock()
        batch.telemetry[address] = telemetry
        is_will = not telemetry.online and not retained
        rows = batch.wills if is_will else batch.devices
        rows[address.site, address.device] = {
            "site": address.site,
            "device": address.device,
            "online": telemetry.online,
            "at": telemetry.at,
            "seen_at": min(now, telemetry.at) if retained else now,
            "ledger": telemetry.ledger,
            "waiting": telemetry.waiting,
            "last_sequence": telemetry.last_sequence,
            "software": telemetry.software,
            "bundle": telemetry.bundle,
            "connection": telemetry.connection,
        }

    def _log(self, batch: _Batch, address: Address, telemetry: Telemetry) -> None:
        batch.log.append(
            {
                "site": address.site,
                "device": address.device,
                "at": telemetry.at,
                "waiting": telemetry.waiting,
                "last_sequence": telemetry.last_sequence,
                "problem": telemetry.problem.replace("\0", "?"),
            }
        )

    def _picture(self, batch: _Batch, address: Address, evidence: Evidence) -> None:
        if self._pictures is None:
            raise MessageError("this hub keeps no pictures")
        self._pictures.keep(evidence)
        batch.evidence.append(
            {
                "site": address.site,
                "device": address.device,
                "item": evidence.item,
                "name": evidence.name,
                "sha256": evidence.sha256,
                "size": len(evidence.data),
                "received_at": self._clock(),
            }
        )
        batch.kept.append((address, EvidenceAck(item=evidence.item, name=evidence.name)))

    def _keep(self, batch: _Batch, arrived: Arrived, reason: str, place: Row | None = None) -> None:
        # Half a character (a lone surrogate) can be written nowhere.
        topic = arrived.topic.encode(errors="backslashreplace")
        content = topic + b"\0" + arrived.payload
        batch.unread.append(
            {
                "topic": _writable(arrived.topic),
                "reason": _writable(reason),
                "received_at": self._clock(),
                "digest": hashlib.sha256(content).hexdigest(),
                "payload": arrived.payload,
                **dict.fromkeys(("site", "device", "ledger", "sequence")),
                **(place or {}),
            }
        )

    def _once(
        self, connection: Connection, table: type[Base], rows: list[Row], key: Sequence[str]
    ) -> None:
        if rows:
            statement = self._insert(table).on_conflict_do_nothing(index_elements=list(key))
            connection.execute(statement, rows)

    def _upsert(
        self,
        connection: Connection,
        table: type[Base],
        rows: list[Row],
        columns: Sequence[str],
        only_where: Callable[[Any], ColumnElement[bool]] | None = None,
    ) -> None:
        """only_where: takes the new connection's name, says which old rows it may change."""
        if rows:
            key = [column.name for column in table.__table__.primary_key]
            # Once each: PostgreSQL does not change a row twice in one statement.
            by_key = {tuple(row[column] for column in key): row for row in rows}
            rows = [by_key[one] for one in sorted(by_key)]
            insert = self._insert(table)
            statement = insert.on_conflict_do_update(
                index_elements=key,
                set_={name: insert.excluded[name] for name in columns},
                where=None if only_where is None else only_where(insert.excluded["connection"]),
            )
            connection.execute(statement, rows)


DEVICE_COLUMNS = (
    "online",
    "at",
    "seen_at",
    "ledger",
    "waiting",
    "last_sequence",
    "software",
    "bundle",
    "connection",
)


def _writable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode().replace("\0", "?")[:1_000]


def _note(batch: _Batch, address: Address, ledger: str, sequence: int) -> None:
    batch.sequences.setdefault((address, ledger), []).append(sequence)


def ranges(sequences: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Write numbers as runs: first and last, inclusive."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(sequences)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return tuple(runs)
