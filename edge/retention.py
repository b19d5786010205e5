"""Let go of old evidence, so that a box's disk never fills with pictures nobody asks for.

Evidence goes when it is older than it has to be kept, and, oldest first, when all of it together
takes more of the disk than it may or the disk runs short. What somebody still needs stays, however
old: pictures of an event that waits for a person, that is in the cart of a shopper who is in the
store, or that the hub does not have yet.

Only where that is not enough, on a box that was without its hub for a month, pictures go that are
needed: those for the hub first, those a person waits for last, the oldest of each first. For the
ledger needs the disk, and no entry of it is ever given up. That is said and counted. One thread of
its own; runs in the appliance.
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

from cloud_sync.kept_count import KeptCount
from edge.ledger import LedgerError, Need

log = logging.getLogger(__name__)

EVERY_S = 600.0
GLANCE_S = 30.0
"""How often the disk's free space alone is looked at."""
FRESH_S = 600.0
"""Evidence younger than this may not be booked yet: it is never touched."""
TOLD_S = 86_400.0
"""How long the page goes on saying that pictures had to go."""
CLOCK_RIGHT_S = 1_760_000_000
"""Seconds since 1970 before which no clock is right: a box that has lost the time dates its
pictures decades back, and they are not old for that."""
DAY_S = 86_400.0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one look at the folder did.

    removed: events whose pictures went; given_up: those of them that somebody still needed;
    asked: those of these that wait for a person. left: bytes that evidence takes; short: bytes by
    which that is too many, or the disk too full; 0 where all is well.
    """

    removed: int
    given_up: int
    asked: int
    left: int
    short: int


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    made_s: float
    size: int


class Retention:
    """Keeps the evidence folder within its bounds, from `start` to `stop`.

    root: the evidence folder, one folder an event, as `edge.evidence` makes it.
    keep_days: age from which evidence may go. max_share: share of the disk, in (0, 1], that it may
    take. spare_mb: so much of the disk is to be free. need: says of an event's id who needs its
    pictures. given_up: counts the events whose pictures went although they were needed;
    when_given_up: called with that count when it rises. clock: seconds since 1970.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep_days: float,
        max_share: float,
        need: Callable[[str], Need],
        given_up: KeptCount,
        spare_mb: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._keep_s = keep_days * DAY_S
        self._max_share = max_share
        self._spare = spare_mb * MEGABYTE
        self._need = need
        self._clock = clock
        self._problem = ""
        self._told = ""
        self._told_at = 0.0
        self.given_up = given_up
        self.when_given_up: Callable[[int], None] = lambda _: None
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="retention", daemon=True)

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the page; empty while all is well."""
        return tuple(text for text in (self._told, self._problem) if text)

    def start(self) -> None:
        """Start looking: now, every ten minutes, and soon where the disk runs short."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, after at most one event's pictures."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def prune(self) -> Pruned:
        """Look at the folder once and let go of what may go, and of what has to.

        Raises OSError where the folder cannot be read, and what need raises.
        """
        events = sorted(self._events(), key=lambda event: event.made_s)
        left = sum(event.size for event in events)
        short = self._short(left)
        now_s = self._clock()
        removed = 0
        needed: list[tuple[Need, _Kept]] = []
        for event in events:
            old = CLOCK_RIGHT_S < event.made_s < now_s - self._keep_s
            if event.made_s > now_s - FRESH_S or (not old and short <= 0):
                continue
            if self._stopping.is_set():
                break
            need = self._need(event.path.name)
            if need is not Need.NOBODY:
                needed.append((need, event))
                continue
            shutil.rmtree(event.path)
            removed, left, short = removed + 1, left - event.size, short - event.size
        gone = self._give_up(needed, short)
        freed = sum(event.size for _, event in gone)
        asked = sum(need is Need.PERSON for need, _ in gone)
        total = removed + len(gone)
        return Pruned(total, len(gone), asked, left - freed, max(0, short - freed))

    def _give_up(self, needed: list[tuple[Need, _Kept]], short: int) -> list[tuple[Need, _Kept]]:
        """Let go of what is needed until the disk has enough; return what went."""
        gone: list[tuple[Need, _Kept]] = []
        for need, event in sorted(needed, key=lambda one: (one[0], one[1].made_s)):
            if short <= 0 or self._stopping.is_set():
                break
            shutil.rmtree(event.path)
            short -= event.size
            gone.append((need, event))
        return gone

    def _short(self, left: int) -> int:
        """Return the bytes that have to go, 0 or less where none have to; left: what is there."""
        usage = shutil.disk_usage(self._root if self._root.is_dir() else self._root.parent)
        full = self._spare - usage.free
        if full > 0:
            # Some more, or the next event would find the disk short again.
            full += self._spare // 4
        return max(left - int(usage.total * self._max_share), full)

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
            self._rest()

    def _rest(self) -> None:
        """Wait for the next look, or until the disk runs short."""
        end = time.monotonic() + EVERY_S
        while time.monotonic() < end and not self._stopping.wait(GLANCE_S):
            try:
                if shutil.disk_usage(self._root.parent).free < self._spare:
                    return
            except OSError:
                return  # the next look says what is wrong

    def _report(self, pruned: Pruned) -> None:
        if pruned.removed:
            log.info("let go of the pictures of %d events", pruned.removed)
        if pruned.given_up:
            self._say_given_up(pruned)
        elif self._clock() - self._told_at > TOLD_S:
            self._told = ""
        if pruned.short:
            self._tell(
                f"pictures of events take {pruned.left // MEGABYTE} MB, "
                f"{1 + pruned.short // MEGABYTE} MB more than there is room for, and all of them "
                "are of the last minutes: free some space"
            )
        else:
            self._problem = ""

    def _say_given_up(self, pruned: Pruned) -> None:
        self.given_up.add(pruned.given_up)
        self._told_at = self._clock()
        self._told = (
            f"the disk is at its limit: pictures of {pruned.given_up} events went although they "
            f"were needed, {pruned.asked} of them by a person, {self.given_up.count} in all; no "
            "entry of a cart did: see to the line to the hub, and settle what waits"
        )
        log.error("%s", self._told)
        self.when_given_up(self.given_up.count)

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem


def _size(folder: str) -> int:
    """Return the bytes that a folder's files take on the disk."""
    with os.scandir(folder) as files:
        return sum(512 * file.stat(follow_symlinks=False).st_blocks for file in files)
