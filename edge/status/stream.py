"""Tell every viewer of the page when the state changes.

One task looks at the state a few times a second while anybody is watching, and sends it on when it
is another one; a viewer that does not keep up misses states in between, never the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

VIEWERS_MAX = 32
KEEPALIVE_S = 5.0


class TooManyViewers(Exception):
    """More pages are open than the box serves."""


class StateStream:
    """The state as server-sent events.

    read: returns the state as one line of JSON; called in a worker thread.
    interval_s: how often the state is looked at.
    """

    def __init__(self, read: Callable[[], str], interval_s: float = 0.5) -> None:
        self._read = read
        self._interval_s = interval_s
        self._viewers: set[asyncio.Queue[str | None]] = set()
        self._latest: str | None = None
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Look at the state now: something was just changed. Call it on the server's loop."""
        self._wake.set()

    def listen(self) -> AsyncIterator[str]:
        """Return the events for a new viewer. Raises TooManyViewers."""
        if len(self._viewers) >= VIEWERS_MAX:
            raise TooManyViewers(f"{VIEWERS_MAX} pages are open already; close one and try again")
        mailbox: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1)
        self._viewers.add(mailbox)
        return self._events(mailbox)

    async def run(self) -> None:
        """Look at the state until cancelled."""
        while True:
            if self._viewers:
                text = await run_in_threadpool(self._read)
                if text != self._latest:
                    self._latest = text
                    for mailbox in self._viewers:
                        _replace(mailbox, text)
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval_s)

    def close(self) -> None:
        """End every viewer's events, so that the server can stop."""
        for mailbox in self._viewers:
            _replace(mailbox, None)

    async def _events(self, mailbox: asyncio.Queue[str | None]) -> AsyncIterator[str]:
        try:
            _replace(mailbox, await run_in_threadpool(self._read))
            while True:
                try:
                    text = await asyncio.wait_for(mailbox.get(), KEEPALIVE_S)
                except TimeoutError:
                    yield "event: still\ndata:\n\n"
                    continue
                if text is None:
                    return
                yield f"event: state\ndata: {text}\n\n"
        finally:
            self._viewers.discard(mailbox)


def _replace(mailbox: asyncio.Queue[str | None], text: str | None) -> None:
    while not mailbox.empty():
        mailbox.get_nowait()
    mailbox.put_nowait(text)
