"""The SQLite file under the ledger: its tables, how it is opened, and what can go wrong with it.

`entries` is the truth and is only ever appended to; `outbox` holds the numbers of the entries that
the hub has not acknowledged; `sessions` and `reviews` are read models, kept in the same
transactions as the entries that they follow from.

Spoken to in SQL through the standard library, and not through sqlite-utils, which `doctor` reads a
ledger with: that commits as it goes, while a booking here is one transaction over several tables,
begun by hand so that two processes never both read before either writes.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = 1

TABLES = """
CREATE TABLE identity (ledger TEXT NOT NULL, device TEXT NOT NULL);
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    session TEXT,
    item TEXT,
    payload BLOB NOT NULL
);
CREATE INDEX entries_session ON entries (session) WHERE session IS NOT NULL;
CREATE INDEX entries_item ON entries (item) WHERE item IS NOT NULL;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_do_not_change BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TABLE outbox (sequence INTEGER PRIMARY KEY REFERENCES entries (sequence));
CREATE TABLE sessions (
    session TEXT PRIMARY KEY,
    opened_sequence INTEGER NOT NULL,
    opened_s REAL NOT NULL,
    closed_s REAL,
    timeline TEXT NOT NULL
);
CREATE INDEX sessions_closed ON sessions (closed_s);
CREATE TABLE reviews (
    event_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    session TEXT,
    review BLOB NOT NULL
);
CREATE INDEX reviews_sequence ON reviews (sequence);
CREATE INDEX reviews_session ON reviews (session);
"""


class LedgerError(Exception):
    """The ledger cannot do what was asked; the text says what is wrong and what to do."""


class LedgerFull(LedgerError):
    """The disk is full. Nothing of what was asked has been written."""


class SessionError(LedgerError):
    """There is no such session, or its id is none."""


class SettleError(LedgerError):
    """An item cannot be settled in this way."""


class LedgerFile:
    """One connection to a ledger's file, safe to share between threads.

    durable: a transaction is on the disk when it returns; else a power cut may undo the last ones,
        whole and in order.
    Opening makes the file where there is none. Several processes may have the same file open.
    Raises LedgerError where the file is no ledger or belongs to another device, LedgerFull where
    there is no room to make it.
    """

    def __init__(self, path: Path, device: str, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._lock = threading.RLock()
        made = not path.exists()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=30.0, isolation_level=None, check_same_thread=False
            )
        try:
            self.ledger = self._prepare(device)
        except BaseException as error:
            self._connection.close()
            if made and isinstance(error, LedgerFull):
                self._remove()
            raise

    def close(self) -> None:
        """Close the connection; the file stays."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do everything inside, durably, or nothing of it.

        Raises LedgerFull or LedgerError where the file does not take it.
        """
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read one consistent state."""
        with self._lock, self._explained():
            nested = self._connection.in_transaction
            if not nested:
                self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if not nested and self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def _prepare(self, device: str) -> str:
        with self._explained():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}"
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute("PRAGMA journal_size_limit = 16777216")
        with self.transaction() as rows:
            (version,) = rows.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _statements(TABLES):
                    rows.execute(statement)
                rows.execute("INSERT INTO identity VALUES (?, ?)", (uuid.uuid4().hex, device))
                rows.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise LedgerError(
                    f"{self.path}: written by a newer shelfgate (version {version}, this one "
                    f"reads {VERSION}): install that version again"
                )
            ledger, owner = rows.execute("SELECT ledger, device FROM identity").fetchone()
        if owner != device:
            raise LedgerError(
                f"{self.path}: belongs to device {owner!r}, but the configuration says "
                f"{device!r}: correct [device] id, or give another state_dir"
            )
        return str(ledger)

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise LedgerFull(
                    f"{self.path}: no room left on the disk; nothing was booked: free some space"
                ) from error
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise LedgerError(
                    f"{self.path}: is damaged or no ledger ({error}): move it aside, the next "
                    "start makes a new one"
                ) from error
            raise LedgerError(f"{self.path}: {error}") from error
        except OSError as error:
            raise LedgerError(f"{self.path}: {error.strerror}") from error


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
