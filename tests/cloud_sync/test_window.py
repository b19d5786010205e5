"""What of an outbox is under way: in order, again where it is late, and not twice by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloud_sync.device import window as of_window
from cloud_sync.device.outbox import Outbox
from cloud_sync.device.window import FIRST, Window
from cloud_sync.messages import decode
from edge.ledger import Ledger
from tests.cloud_sync.a_device import an_event, book

ENTRIES = 120


class Sender:
    """A window over a real outbox, at a time of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = Ledger(folder / "ledger.db", "box-1")
        self.ledger.open_session("anna", 0.0)
        for number in range(1, ENTRIES):
            book(self.ledger, an_event(f"e{number}"))
        self.outbox = Outbox(folder / "ledger.db", "box-1")
        self.window = Window(self.outbox, 256, 10.0)
        self.now = 0.0
        self._sent: list[int] = []
        monkeypatch.setattr(of_window, "time", SimpleNamespace(monotonic=lambda: self.now))

    def sends(self, after_s: float = 0.0) -> list[int]:
        """Go on for so long; give the sequences that are sent then."""
        self.now += after_s
        self._sent.clear()
        self.window.send(self._publish)
        return list(self._sent)

    def _publish(self, payload: bytes) -> bool:
        self._sent.append(decode(payload).sequence)  # type: ignore[union-attr]
        return True


@pytest.fixture
def sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    one = Sender(tmp_path, monkeypatch)
    yield one
    one.outbox.close()
    one.ledger.close()


def test_entries_go_in_order_and_more_at_a_time_as_the_line_shows_what_it_carries(
    sender: Sender,
) -> None:
    assert sender.sends() == list(range(1, FIRST + 1))
    assert sender.sends(0.5) == []
    sender.window.done([(1, FIRST)])
    assert sender.sends() == list(range(FIRST + 1, ENTRIES + 1))


def test_what_is_late_is_sent_again_from_the_first_on(sender: Sender) -> None:
    sender.sends()
    sender.now += 2.0
    sender.window.done([(1, 3)])
    assert sender.sends(9.0) == []
    again = sender.sends(1.5)
    assert again == list(range(4, 4 + FIRST // 2))


def test_acknowledgements_that_come_late_say_that_the_line_moves(sender: Sender) -> None:
    sender.sends()
    again = sender.sends(11.0)
    assert again == list(range(1, FIRST // 2 + 1))
    sender.now += 15.0
    sender.window.done([(FIRST // 2 + 1, FIRST)])
    assert sender.sends(15.0) == [], "the answer to the first time was half a minute away"
    sender.window.done([(1, FIRST // 2)])
    assert sender.sends()[0] == FIRST + 1
    assert sender.ledger.waiting() == ENTRIES - FIRST


def test_on_a_new_line_all_that_is_not_acknowledged_goes_anew(sender: Sender) -> None:
    sender.sends()
    sender.window.done([(1, 10)])
    sender.window.restart(256)
    assert sender.sends()[:2] == [11, 12]


def test_where_nobody_listens_it_is_tried_again_soon_and_then_less_often(sender: Sender) -> None:
    sender.sends()
    sender.window.nobody_listens()
    assert sender.sends(0.5) == []
    assert sender.sends(0.6)[0] == 1
    sender.window.nobody_listens()
    assert sender.sends(1.1) == []
    assert sender.sends(1.0)[0] == 1
