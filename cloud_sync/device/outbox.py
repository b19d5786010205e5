"""What the ledger still owes the hub.

The ledger puts a row in with every entry, in one transaction; the agent reads the rows in order, a
window at a time, and takes out those that the hub has acknowledged. The rows may be any number:
nothing here reads them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_sync.messages import ItemBooked, decode_as
from edge.ledger import LedgerFile


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry that the hub has not acknowledged: its place in the ledger and its bytes."""

    sequence: int
    payload: bytes


class Outbox:
    """The outbox of one device's ledger; has its own connection, several threads may share it.

    Raises LedgerError here and in every method where the file does not do it.
    """

    def __init__(self, path: Path, device: str) -> None:
        # A lost acknowledgement only means that an entry is sent twice: no need to wait for the
        # disk.
        self._file = LedgerFile(path, device, durable=False)

    @property
    def ledger_id(self) -> str:
        """The id of the ledger that the rows belong to."""
        return self._file.ledger

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def waiting_after(self, sequence: int, limit: int) -> list[Waiting]:
        """Give the next rows in order, at most limit, that come after a place in the ledger."""
        with self._file.reading() as rows:
            found = rows.execute(
                "SELECT sequence, payload FROM outbox JOIN entries USING (sequence) "
                "WHERE outbox.sequence > ? ORDER BY outbox.sequence LIMIT ?",
                (sequence, limit),
            )
            return [Waiting(int(number), bytes(payload)) for number, payload in found]

    def done(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Take out what the hub has: first and last sequence, inclusive. Count what went."""
        with self._file.transaction() as rows:
            return sum(
                rows.execute("DELETE FROM outbox WHERE sequence BETWEEN ? AND ?", one).rowcount
                for one in ranges
            )

    def again(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Put back what the hub misses, as far as the ledger has it. Count what came back."""
        with self._file.transaction() as rows:
            return sum(
                rows.execute(
                    "INSERT OR IGNORE INTO outbox "
                    "SELECT sequence FROM entries WHERE sequence BETWEEN ? AND ?",
                    one,
                ).rowcount
                for one in ranges
            )

    def item(self, event_id: str) -> ItemBooked | None:
        """Give an item as it was booked, None where there is none of that id."""
        with self._file.reading() as rows:
            found = rows.execute(
                "SELECT payload FROM entries WHERE event_id = ? AND type = 'item'", (event_id,)
            ).fetchone()
        return None if found is None else decode_as(ItemBooked, bytes(found[0]))

    def reviews_after(self, sequence: int, limit: int) -> list[tuple[int, str]]:
        """Give items that wait for a person, in order: place in the ledger and event id."""
        with self._file.reading() as rows:
            return rows.execute(
                "SELECT sequence, event_id FROM reviews WHERE sequence > ? "
                "ORDER BY sequence LIMIT ?",
                (sequence, limit),
            ).fetchall()

    def depth(self) -> int:
        """Count the rows."""
        with self._file.reading() as rows:
            return int(rows.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def last_sequence(self) -> int:
        """Give the number of the ledger's newest entry, 0 for an empty one."""
        with self._file.reading() as rows:
            (last,) = rows.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()
            return int(last)
