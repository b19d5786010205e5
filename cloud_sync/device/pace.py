"""How much may be under way on a line at a time, and how long what is late is waited for.

Pure: times come in. A line in a shop may take a millisecond or ten seconds for a block. Who puts
more on it than it carries fills it with things that are late, sends or asks again, and moves all of
it twice. So the line is measured, as TCP does it: its rate as in BBR (Cardwell et al. 2016),
patience as in RFC 6298; what was sent twice says only how slow it may be (Karn & Partridge 1987).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

HORIZON_S = 2.0
"""So much time's worth is under way: more than a round trip takes, less than anybody minds."""

RATES = 8
"""Of so many the best counts: one that had to wait does not make a line slow."""


@dataclass(frozen=True, slots=True)
class _Sent:
    at: float
    first_at: float
    came_before: int

    @property
    def is_again(self) -> bool:
        return self.first_at < self.at


class Pace:
    """Told what was sent, or asked for, and what came of it; times are seconds of one clock.

    first: how many may be under way before the line is known; half as many, and one at least, may
    be on the slowest. most: at most, however fast it is. least_s, most_s: bounds of the patience,
    which is least_s at first.
    """

    def __init__(self, first: int, most: int, least_s: float, most_s: float) -> None:
        self._least = max(1, first // 2)
        self._least_s, self._most_s = least_s, most_s
        self._wanted = first
        self.most = most
        self.patience_s = least_s
        self._under_way: dict[int, _Sent] = {}
        self._first_at: dict[int, float] = {}
        self._rates: deque[float] = deque(maxlen=RATES)
        self._came = 0
        self._moved_at = self._overtaken_at = 0.0
        self._mean_s: float | None = None
        self._spread_s = 0.0

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._under_way)

    @property
    def window(self) -> int:
        """How many may be under way now."""
        return min(self._wanted, self.most)

    def sent(self, numbers: Iterable[int], now: float) -> None:
        """Begin to wait for these."""
        if not self._under_way:
            self._moved_at = now
        for number in numbers:
            first_at = self._first_at.get(number, now)
            self._under_way[number] = _Sent(now, first_at, self._came)

    def came(self, numbers: Iterable[int], now: float) -> None:
        """Wait for these no longer; one that nobody waits for says that the line moves."""
        for number in numbers:
            self._came += 1
            self._moved_at = now
            self._first_at.pop(number, None)
            sent = self._under_way.pop(number, None)
            if sent is not None:
                self._overtaken_at = max(self._overtaken_at, sent.at)
                self._measure(sent, now)

    def sent_within(self, first: int, last: int) -> list[int]:
        """Return those under way, or given up, from first to last, inclusive."""
        numbers = self._under_way.keys() | self._first_at.keys()
        return sorted(number for number in numbers if first <= number <= last)

    def is_late(self, now: float) -> bool:
        """Say whether nothing has come for too long, or what was sent first did not.

        A line keeps the order: where something came that was sent later, waiting is counted from
        when the first was sent, however much comes.
        """
        oldest = next(iter(self._under_way.values()), None)
        if oldest is None:
            return False
        since = oldest.at if oldest.at < self._overtaken_at else self._moved_at
        return now - since > self.patience_s

    def give_up(self) -> list[int]:
        """Take what is under way for lost; return it. The next time more patience is had."""
        self.wait_longer()
        self._rates.clear()
        self._wanted = self._least
        own = {number: sent.first_at for number, sent in self._under_way.items()}
        first_at = self._first_at | own
        lost = self.forget()
        self._first_at = first_at
        return lost

    def wait_longer(self) -> None:
        """Have twice the patience, until something has come that was sent but once."""
        self.patience_s = min(2 * self.patience_s, self._most_s)

    def forget(self) -> list[int]:
        """Nothing is under way any more, for the line is new; return what was."""
        lost = sorted(self._under_way)
        self._under_way.clear()
        self._first_at.clear()
        return lost

    def _measure(self, sent: _Sent, now: float) -> None:
        if sent.is_again:
            # Which of the two it answers is not known.
            self._wanted = min(self._wanted + 1, self.most)
            if self._mean_s is None or now - sent.first_at > self._mean_s:
                self._learn(now - sent.first_at)
            return
        took_s = max(now - sent.at, 1e-6)
        self._rates.append((self._came - sent.came_before) / took_s)
        self._wanted = max(self._least, int(max(self._rates) * HORIZON_S) + 1)
        self._learn(took_s)

    def _learn(self, took_s: float) -> None:
        if self._mean_s is None:
            self._mean_s, self._spread_s = took_s, took_s / 2
        else:
            self._spread_s += 0.25 * (abs(took_s - self._mean_s) - self._spread_s)
            self._mean_s += 0.125 * (took_s - self._mean_s)
        enough_s = self._mean_s + 4 * self._spread_s
        self.patience_s = min(self._most_s, max(self._least_s, enough_s))
