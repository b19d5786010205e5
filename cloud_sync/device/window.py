"""Which entries are under way to the hub: a bounded window over the outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cloud_sync.device.outbox import Outbox

RESEND_MOST_S = 120.0
NOBODY_LISTENS_S = 1.0


class Window:
    """Sends the outbox's rows in order, at most `most` without an acknowledgement.

    Every row from the outbox's first to the last one sent is either under way or done. When one
    under way is not acknowledged within resend_after_s, all are sent again, and the next time
    after twice as long.
    """

    def __init__(self, outbox: Outbox, most: int, resend_after_s: float) -> None:
        self._outbox = outbox
        self._most = most
        self._first_patience_s = self._patience_s = resend_after_s
        self._under_way: dict[int, float] = {}
        self._last_sent = 0
        self._again_at: float | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether hardly anything is under way: there is room on the line for other things."""
        return len(self._under_way) < max(1, self._most // 8)

    def restart(self, most: int) -> None:
        """Forget what is under way, and send it again: the line is new."""
        self._most = most
        self._under_way.clear()
        self._last_sent = 0
        self._again_at = None

    def done(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Take out what the hub has."""
        self._outbox.done(ranges)
        for first, last in ranges:
            for sequence in [one for one in self._under_way if first <= one <= last]:
                del self._under_way[sequence]
        self._patience_s = self._first_patience_s

    def again(self, ranges: Sequence[tuple[int, int]]) -> int:
        """The hub misses entries: begin anew with those it asks for. Count them."""
        came_back = self._outbox.again(ranges)
        if came_back:
            self.restart(self._most)
        return came_back

    def nobody_listens(self) -> None:
        """The broker has no one to give our entries to: try again soon, then less and less."""
        if self._again_at is None:
            pause = min(self._patience_s, max(NOBODY_LISTENS_S, self._patience_s / 10))
            self._again_at = time.monotonic() + pause

    def send(self, publish: Callable[[bytes], bool]) -> None:
        """Send what the window has room for.

        publish: takes an entry's bytes; False where it does not take them now.
        """
        now = time.monotonic()
        if self._is_due(now):
            self.restart(self._most)
            self._patience_s = min(2 * self._patience_s, RESEND_MOST_S)
        room = self._most - len(self._under_way)
        if room < max(1, self._most // 8) or self._again_at is not None:
            return
        for row in self._outbox.waiting_after(self._last_sent, room):
            if not publish(row.payload):
                return
            self._under_way[row.sequence] = now
            self._last_sent = row.sequence

    def _is_due(self, now: float) -> bool:
        if self._again_at is not None:
            return now >= self._again_at
        oldest = next(iter(self._under_way.values()), None)
        return oldest is not None and now - oldest > self._patience_s
