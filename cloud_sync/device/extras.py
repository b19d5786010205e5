"""What a device would like the hub to have besides its ledger: pictures, and a log of dark times.

In a file of its own, which may be lost: nothing of a cart is in it. When the outbox is long or the
disk is short this makes room, the log first, then the pictures; entries of the ledger never do.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TABLES = """
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (item, name)
);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to make room.

    rows: entries, pictures and log together. log_rows: of the log alone. free_share: how much of
    the disk must be free.
    """

    rows: int = 1_000_000
    log_rows: int = 20_000
    free_share: float = 0.03


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is to go to the hub: its row, the item, its name in the evidence folder."""

    id: int
    item: str
    name: str


class Extras:
    """The file. Every method raises sqlite3.Error where the file does not do it."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._rows = self._open()
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._rows = self._open()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._rows.close()

    def note(self, payload: bytes) -> None:
        """Keep a line of the log."""
        with self._lock, self._rows:
            self._rows.execute("INSERT INTO log (payload) VALUES (?)", (payload,))

    def log(self, limit: int) -> list[tuple[int, bytes]]:
        """Give the oldest lines of the log: row and payload."""
        with self._lock:
            found = self._rows.execute("SELECT id, payload FROM log ORDER BY id LIMIT ?", (limit,))
            return [(int(row), bytes(payload)) for row, payload in found]

    def logged(self, upto: int) -> None:
        """Take lines out of the log, up to a row."""
        with self._lock, self._rows:
            self._rows.execute("DELETE FROM log WHERE id <= ?", (upto,))

    def want(self, item: str, names: Iterable[str]) -> int:
        """Put pictures on the list; count those that are on it for this item now."""
        with self._lock, self._rows:
            for name in names:
                self._rows.execute(
                    "INSERT OR IGNORE INTO pictures (item, name) VALUES (?, ?)", (item, name)
                )
            found = self._rows.execute("SELECT count(*) FROM pictures WHERE item = ?", (item,))
            return int(found.fetchone()[0])

    def next_picture(self) -> Picture | None:
        """Give the picture whose turn it is."""
        with self._lock:
            row = self._rows.execute(
                "SELECT id, item, name FROM pictures ORDER BY id LIMIT 1"
            ).fetchone()
        return None if row is None else Picture(*row)

    def done(self, item: str, name: str) -> None:
        """Take a picture off the list."""
        with self._lock, self._rows:
            self._rows.execute("DELETE FROM pictures WHERE item = ? AND name = ?", (item, name))

    def mark(self, name: str) -> int:
        """Give a number that was kept, 0 where none was."""
        with self._lock:
            row = self._rows.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_mark(self, name: str, value: int) -> None:
        """Keep a number."""
        with self._lock, self._rows:
            self._rows.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, value))

    def counts(self) -> tuple[int, int]:
        """Count the lines of the log and the pictures."""
        with self._lock:
            (log,) = self._rows.execute("SELECT count(*) FROM log").fetchone()
            (pictures,) = self._rows.execute("SELECT count(*) FROM pictures").fetchone()
        return int(log), int(pictures)

    def make_room(self, entries: int) -> tuple[int, int]:
        """Give way where there is too much: the log first, then pictures, the oldest of each.

        entries: rows of the outbox. Counts what went of the log and of the pictures.
        """
        log, pictures = self.counts()
        too_many = max(0, entries + log + pictures - self._limits.rows)
        usage = shutil.disk_usage(self._path.parent)
        if usage.free < self._limits.free_share * usage.total:
            too_many = log + pictures
        from_log = min(log, max(too_many, log - self._limits.log_rows))
        from_pictures = min(pictures, max(0, too_many - from_log))
        if from_log or from_pictures:
            with self._lock, self._rows:
                for table, count in (("log", from_log), ("pictures", from_pictures)):
                    self._rows.execute(
                        f"DELETE FROM {table} WHERE id IN "
                        f"(SELECT id FROM {table} ORDER BY id LIMIT ?)",
                        (count,),
                    )
        return from_log, from_pictures

    def _open(self) -> sqlite3.Connection:
        rows = sqlite3.connect(self._path, timeout=30.0, check_same_thread=False)
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA synchronous = NORMAL")
        rows.executescript(TABLES)
        return rows
