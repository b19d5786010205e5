"""Payloads that this version cannot read because they are of a newer schema: kept, and counted.

An upgrade may read them; until then the hub is told how many there are. Bounded: the oldest make
room for the newest, for a hub that is ahead of its devices says the same again and again. What has
made room is gone, so that is counted and told as well.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

from cloud_sync.kept_count import KeptCount

log = logging.getLogger(__name__)

KEPT_MOST = 1_000


class UnreadFolder:
    """A folder with a file a payload, named after its content. most: how many are kept.

    Wishes come in the thread of the line and commands in the agent's: `keep` is for any of them.
    """

    def __init__(self, root: Path, most: int = KEPT_MOST) -> None:
        self._root = root
        self._most = most
        self._count = sum(1 for _ in root.glob("*.json")) if root.is_dir() else 0
        self._dropped = KeptCount(root / "dropped")
        self._one_at_a_time = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """How many are here and how many had to go, as `Reported` names them."""
        return {"unread": self._count, "unread_dropped": self._dropped.count}

    def keep(self, payload: bytes, reason: str) -> None:
        """Keep a payload; the same one again is kept once."""
        with self._one_at_a_time:
            self._keep(payload, reason)

    def _keep(self, payload: bytes, reason: str) -> None:
        path = self._root / f"{hashlib.sha256(payload).hexdigest()}.json"
        if path.exists():
            return
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
            files = sorted(self._root.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)
            surplus = files[: -self._most]
            for old in surplus:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.error("a payload that cannot be read was not kept: %s", error)
            self._dropped.add(1)
            return
        self._count = len(files) - len(surplus)
        log.warning("kept a payload that this version cannot read: %s", reason)
        if surplus:
            self._dropped.add(len(surplus))
            log.error(
                "%s holds %d payloads, the most it may: %d older ones went unread, %d so far; "
                "upgrade this box",
                self._root, self._most, len(surplus), self._dropped.count,
            )  # fmt: skip
