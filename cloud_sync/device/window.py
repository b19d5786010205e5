"""Which entries are under way to the hub: a bounded window over the outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cloud_sync.device.outbox import Outbox
from cloud_sync.device.pace import Pace

FIRST = 32
RESEND_MOST_S = 120.0
NOBODY_LISTENS_S = 1.0


class Window:
    """Sends the outbox's rows in order, as many without an acknowledgement as the line carries.

    Every row from the outbox's first to the last one sent is either under way or done. When none is
    acknowledged for resend_after_s, or longer where the line takes longer, they are sent again, and
    the next time after twice as long. most: rows under way at most.
    """

    def __init__(self, outbox: Outbox, most: int, resend_after_s: float) -> None:
        self._outbox = outbox
        self._pace = Pace(FIRST, most, resend_after_s, RESEND_MOST_S)
        self._last_sent = 0
        self._again_at: float | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether hardly anything is under way: there is room on the line for other things."""
        return len(self._pace) < max(1, self._pace.window // 8)

    def restart(self, most: int) -> None:
        """Forget what is under way, and send it again: the line is new."""
        self._pace.most = most
        self._pace.forget()
        self._last_sent = 0
        self._again_at = None

    def done(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Take out what the hub has."""
        self._outbox.done(ranges)
        now = time.monotonic()
        for first, last in ranges:
            self._pace.came(self._pace.sent_within(first, last), now)

    def again(self, ranges: Sequence[tuple[int, int]]) -> int:
        """The hub misses entries: begin anew with those it asks for. Count them."""
        came_back = self._outbox.again(ranges)
        if came_back:
            self.restart(self._pace.most)
        return came_back

    def nobody_listens(self) -> None:
        """The broker has no one to give our entries to: try again soon, then less and less."""
        if self._again_at is None:
            patience_s = self._pace.patience_s
            pause = min(patience_s, max(NOBODY_LISTENS_S, patience_s / 10))
            self._again_at = time.monotonic() + pause

    def send(self, publish: Callable[[bytes], bool]) -> None:
        """Send what the window has room for.

        publish: takes an entry's bytes; False where it does not take them now.
        """
        now = time.monotonic()
        if self._again_at is not None and now >= self._again_at:
            self._pace.wait_longer()
            self.restart(self._pace.most)
        elif self._pace.is_late(now):
            self._pace.give_up()
            self._last_sent = 0
        room = self._pace.window - len(self._pace)
        if room < max(1, self._pace.window // 8) or self._again_at is not None:
            return
        for row in self._outbox.waiting_after(self._last_sent, room):
            if not publish(row.payload):
                return
            self._pace.sent([row.sequence], now)
            self._last_sent = row.sequence
