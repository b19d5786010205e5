"""Payloads that this version cannot read because they are of a newer schema: kept, and counted.

An upgrade may read them; until then the hub is told how many there are. Bounded: the oldest make
room for the newest, for a hub that is ahead of its devices says the same again and again.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

log = logging.getLogger(__name__)

KEPT_MOST = 1_000


class UnreadFolder:
    """A folder with a file a payload, named after its content."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.count = sum(1 for _ in root.glob("*.json")) if root.is_dir() else 0

    def keep(self, payload: bytes, reason: str) -> None:
        """Keep a payload; the same one again is kept once."""
        path = self._root / f"{hashlib.sha256(payload).hexdigest()}.json"
        if path.exists():
            return
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
            files = sorted(self._root.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)
            for old in files[:-KEPT_MOST]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.error("a payload that cannot be read was not kept: %s", error)
            return
        self.count = min(len(files), KEPT_MOST)
        log.warning("kept a payload that this version cannot read: %s", reason)
