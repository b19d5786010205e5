"""Fetch files over MQTT, block by block: what is asked for, what is late, what goes first.

As many blocks are under way as the line carries (`pace`); one that is late is asked for again, the
line may break in between, and the file goes on where it was. Carts go first: while the ledger has
anything to send, one block at a time is under way, and a rate may be set that is never exceeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlparse

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from cloud_sync.blocks import BLOCK, Block, BlockAsk, unpack
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.download import HalfFile
from cloud_sync.device.pace import Pace
from cloud_sync.messages import MessageError

FIRST, WINDOW = 1, 16
"""Blocks under way, before the line is known and at most."""

PATIENCE_S = 4.0
PATIENCE_MOST_S = 60.0
POLL_S = 0.25
GIVE_UP_S = 60.0
"""For how long a file of unknown length, which cannot be taken up again, is waited for."""

NOT_FOUND = 404


class Interrupted(Exception):
    """Fetching was given up because something else is wanted, or the box is stopping."""


class NotThere(Exception):
    """The hub has no such file."""


class Oversized(Exception):
    """More came than was asked for; the text says what."""


class Fetcher:
    """Fetches over one line.

    is_wanted: asked often; fetching ends once it is not. is_busy: whether carts wait to be sent.
    bytes_per_s: what is asked for at most, None for as fast as it goes.
    """

    def __init__(
        self,
        line: BundleLine,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
        is_busy: Callable[[], bool] = lambda: False,
        bytes_per_s: float | None = None,
    ) -> None:
        self._line = line
        self._is_wanted, self._is_busy = is_wanted, is_busy
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def file(self, name: str, half: HalfFile, progress: Callable[[int], None]) -> None:
        """Fetch what is missing of a file, however long it takes.

        name: its SHA-256. progress: called with the bytes of every block that came.
        Raises NotThere, Oversized, Interrupted, or OSError where the disk does not take it.
        """
        waiting = half.missing[::-1]
        pace, connection = Pace(FIRST, WINDOW, PATIENCE_S, PATIENCE_MOST_S), self._line.connections
        while waiting or len(pace):
            self._check()
            if self._line.connections != connection:
                connection = self._line.connections
                waiting += pace.forget()[::-1]
            self._ask(name, half, waiting, pace)
            block = self._line.next_block(POLL_S)
            if block is not None and block.file == name:
                pace.came([block.number], time.monotonic())
                if self._take(block, half):
                    progress(half.size_of(block.number))
            elif pace.is_late(time.monotonic()):
                waiting += pace.give_up()[::-1]

    def small(self, name: str) -> Iterator[bytes]:
        """Fetch a file of unknown length in pieces; who asks for them limits how many.

        Raises NotThere, Interrupted, or TimeoutError where nothing comes for `GIVE_UP_S`.
        """
        number = 0
        while True:
            block = self._one(name, number)
            try:
                data = unpack(block)
            except MessageError as error:
                raise Oversized(str(error)) from error
            yield data
            number += 1
            if len(data) < BLOCK or number * BLOCK >= block.total:
                return

    def _one(self, name: str, number: int) -> Block:
        give_up_at = time.monotonic() + GIVE_UP_S
        ask_at, patience_s = 0.0, PATIENCE_S
        while time.monotonic() < give_up_at:
            self._check()
            if time.monotonic() >= ask_at:
                if self._line.ask(BlockAsk(file=name, size=BLOCK, numbers=(number,))):
                    ask_at, patience_s = time.monotonic() + patience_s, 2 * patience_s
                else:
                    self._line.wait(POLL_S)
            block = self._line.next_block(POLL_S)
            if block is not None and (block.file, block.number) == (name, number):
                if block.problem is not None:
                    raise NotThere(f"{name}: {block.problem}")
                return block
        raise TimeoutError(f"{name}: the hub does not answer")

    def _check(self) -> None:
        if not self._is_wanted():
            raise Interrupted

    def _ask(self, name: str, half: HalfFile, waiting: list[int], pace: Pace) -> None:
        """Ask for as many blocks as the line, the carts and the rate leave room for."""
        room = (1 if self._is_busy() else pace.window) - len(pace)
        # One ask for several blocks, not one for each that came.
        if room < 1 or (room < pace.window // 4 and len(waiting) > room and len(pace)):
            return
        now = time.monotonic()
        numbers: list[int] = []
        while waiting and len(numbers) < room and self._free_at <= now:
            number = waiting.pop()
            if half.has(number):
                continue  # it was late, not lost
            numbers.append(number)
            if self._bytes_per_s is not None:
                size = half.size_of(number)
                self._free_at = max(self._free_at, now - 0.25) + size / self._bytes_per_s
        if not numbers:
            return
        if self._line.ask(BlockAsk(file=name, size=BLOCK, numbers=tuple(numbers))):
            pace.sent(numbers, now)
        else:
            waiting += numbers[::-1]

    def _take(self, block: Block, half: HalfFile) -> bool:
        """Write a block; say whether it was missing."""
        if block.problem is not None:
            raise NotThere(f"{block.file}: {block.problem}")
        try:
            data = unpack(block)
        except MessageError as error:
            raise Oversized(str(error)) from error
        if block.total > half.length or len(data) > BLOCK:
            raise Oversized(f"{block.total} bytes are sent, {half.length} are signed for")
        return half.put(block.number, data)


class MqttFetcher(FetcherInterface):
    """What `tuf.ngclient` reads metadata through: mqtt:/metadata/NAME."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = urlparse(url).path.lstrip("/")
        try:
            yield from self._fetcher.small(name)
        except NotThere as error:
            raise DownloadHTTPError(str(error), NOT_FOUND) from error
        except (Oversized, TimeoutError) as error:
            raise DownloadError(str(error)) from error
