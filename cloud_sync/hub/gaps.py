"""Find what a device holds for done and this hub does not have.

A device counts the entries of its ledger without gaps and says in its telemetry how many there are
and how many still wait to be sent. What is missing here beyond those was acknowledged once and is
gone: the hub was restored from a backup. It asks for them. Called by the store, inside its
transaction, so that the answer and the events belong to one state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, union_all
from sqlalchemy.sql.dml import Insert

from cloud_sync.hub.tables import EventRow, LedgerRow, UnreadRow
from cloud_sync.messages import Telemetry
from cloud_sync.topics import Address

SCANNED_MOST = 100_000
"""Entries looked at in one go; the rest is looked at when the device speaks again."""

RANGES_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is missing: every entry from 1 to upto is here; runs, inclusive; how many in all."""

    upto: int
    runs: tuple[tuple[int, int], ...]
    missing: int


def gaps_in(upto: int, numbers: Iterable[int], last: int | None) -> Gaps:
    """Find the gaps.

    upto: all from 1 to here are there. numbers: those after it that are there, rising.
    last: the newest that there should be; None: look no further than the last of numbers.
    """
    runs: list[tuple[int, int]] = []
    missing, next_one, whole = 0, upto + 1, upto
    for number in numbers:
        if number > next_one:
            runs.append((next_one, number - 1))
            missing += number - next_one
        elif not runs:
            whole = number
        next_one = max(next_one, number + 1)
    if last is not None and last >= next_one:
        runs.append((next_one, last))
        missing += last - next_one + 1
    return Gaps(whole, tuple(runs[:RANGES_MOST]), missing)


def look_for_gaps(
    connection: Connection,
    insert: Callable[[Any], Any],
    address: Address,
    telemetry: Telemetry,
) -> tuple[tuple[int, int], ...]:
    """Move a ledger's mark on; give what the device must be asked for, nothing where all is well.

    insert: the dialect's insert. telemetry: what the device said of itself, just now or before.
    """
    whose = (address.site, address.device, telemetry.ledger)
    mark = connection.execute(
        select(LedgerRow.upto, LedgerRow.missing).where(
            LedgerRow.site == whose[0], LedgerRow.device == whose[1], LedgerRow.ledger == whose[2]
        )
    ).one_or_none()
    upto = 0 if mark is None else int(mark.upto)
    if telemetry.last_sequence <= upto:
        return ()
    here = _numbers(connection, whose, upto, telemetry.last_sequence)
    last = telemetry.last_sequence if len(here) < SCANNED_MOST else None
    gaps = gaps_in(upto, here, last)
    lost = gaps.missing if gaps.missing > telemetry.waiting else 0
    if mark is None or (mark.upto, mark.missing) != (gaps.upto, lost):
        row = {"upto": gaps.upto, "missing": lost}
        key = dict(zip(("site", "device", "ledger"), whose, strict=True))
        statement: Insert = insert(LedgerRow).values(**key, **row)
        statement = statement.on_conflict_do_update(  # type: ignore[attr-defined]
            index_elements=list(key), set_=row
        )
        connection.execute(statement)
    return gaps.runs if lost else ()


def _numbers(
    connection: Connection, whose: tuple[str, str, str], after: int, last: int
) -> list[int]:
    parts = [
        select(table.sequence)
        .where(table.site == whose[0], table.device == whose[1], table.ledger == whose[2])
        .where(table.sequence > after, table.sequence <= last)
        for table in (EventRow, UnreadRow)
    ]
    both = union_all(*parts).subquery()
    which = select(both.c.sequence).order_by(both.c.sequence).limit(SCANNED_MOST)
    return [int(number) for number in connection.execute(which).scalars()]
