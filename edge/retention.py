"""Let go of old evidence, so that a box's disk never fills with pictures nobody asks for.

Evidence goes when it is older than it has to be kept, and, oldest first, when all of it together
takes more of the disk than it may. What somebody still needs stays, however old and however large:
pictures of an event that waits for a person, that is in the cart of a shopper who is in the store,
or that the hub does not have yet. One thread of its own; runs in the appliance.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from edge.ledger import LedgerError

log = logging.getLogger(__name__)

EVERY_S = 600.0
FRESH_S = 600.0
"""Evidence younger than this may not be booked yet: it is never touched."""
CLOCK_RIGHT_S = 1_760_000_000
"""Seconds since 1970 before which no clock is right: a box that has lost the time dates its
pictures decades back, and they are not old for that."""
DAY_S = 86_400.0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one look at the folder did.

    removed: events whose pictures went. left, allowed: bytes that evidence takes and may take.
    """

    removed: int
    left: int
    allowed: int


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    made_s: float
    size: int


class Retention:
    """Keeps the evidence folder within its bounds, from `start` to `stop`.

    root: the evidence folder, one folder an event, as `edge.evidence` makes it.
    keep_days: age from which evidence may go. max_share: share of the disk, in (0, 1], that it may
    take. is_needed: says of an event's id whether its pictures must stay.
    clock: seconds since 1970.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep_days: float,
        max_share: float,
        is_needed: Callable[[str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._keep_s = keep_days * DAY_S
        self._max_share = max_share
        self._is_needed = is_needed
        self._clock = clock
        self._problem = ""
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="retention", daemon=True)

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the page; empty while all is well."""
        return (self._problem,) if self._problem else ()

    def start(self) -> None:
        """Start looking, now and every ten minutes."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, after at most one event's pictures."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def prune(self) -> Pruned:
        """Look at the folder once and let go of what may go, oldest first.

        Raises OSError where the folder cannot be read, and what is_needed raises.
        """
        events = sorted(self._events(), key=lambda event: event.made_s)
        left = sum(event.size for event in events)
        allowed = self._allowed()
        now_s = self._clock()
        removed = 0
        for event in events:
            if self._stopping.is_set():
                break
            old = CLOCK_RIGHT_S < event.made_s < now_s - self._keep_s
            fresh = event.made_s > now_s - FRESH_S
            if not old and left <= allowed:
                continue
            if fresh or self._is_needed(event.path.name):
                continue
            shutil.rmtree(event.path)
            left -= event.size
            removed += 1
        return Pruned(removed, left, allowed)

    def _allowed(self) -> int:
        existing = self._root if self._root.is_dir() else self._root.parent
        return int(shutil.disk_usage(existing).total * self._max_share)

    def _events(self) -> Iterator[_Kept]:
        """Give what is kept of every event; links and files beside the folders are not ours."""
        if not self._root.is_dir():
            return
        with os.scandir(self._root) as folders:
            for folder in folders:
                if folder.is_dir(follow_symlinks=False):
                    yield _Kept(Path(folder.path), folder.stat().st_mtime, _size(folder.path))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pruned = self.prune()
            except (OSError, LedgerError) as error:
                self._tell(f"old pictures of events cannot be removed: {error}")
            else:
                self._report(pruned)
            self._stopping.wait(EVERY_S)

    def _report(self, pruned: Pruned) -> None:
        if pruned.removed:
            log.info("let go of the pictures of %d events", pruned.removed)
        if pruned.left > pruned.allowed:
            self._tell(
                f"pictures of events take {pruned.left // MEGABYTE} MB, more than the "
                f"{pruned.allowed // MEGABYTE} MB they may, and all of them are still needed: "
                "settle what waits for a person, or see to the line to the hub"
            )
        else:
            self._problem = ""

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem


def _size(folder: str) -> int:
    """Return the bytes that a folder's files take on the disk."""
    with os.scandir(folder) as files:
        return sum(512 * file.stat(follow_symlinks=False).st_blocks for file in files)
