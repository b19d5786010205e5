"""A number that only rises and outlives restarts: how much of something was let go.

Ground floor: imports none of ours.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

log = logging.getLogger(__name__)

LONGEST = 20


class KeptCount:
    """A count in a file of its own; safe to use from any thread.

    A file that is no number counts from 0, and is said; one that cannot be written costs no more
    than the count after a restart, and is said too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._count = self._kept()

    @property
    def count(self) -> int:
        """The number."""
        return self._count

    def add(self, more: int) -> None:
        """Raise the number."""
        with self._lock:
            self._count += more
            part = self._path.with_name(f"{self._path.name}.part")
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                part.write_text(str(self._count))
                part.replace(self._path)
            except OSError as error:
                log.error("%s: a count cannot be kept: %s", self._path, error.strerror)

    def _kept(self) -> int:
        try:
            with self._path.open("rb") as file:
                text = file.read(LONGEST + 1).decode("ascii").strip()
            if len(text) <= LONGEST and text.isdecimal():
                return int(text)
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError):
            pass
        log.warning("%s: is no number, it is counted from 0", self._path)
        return 0
