"""The bookkeeper: each event once, in order, whatever the disk does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.bookkeeper import Bookkeeper
from edge.evidence import EvidenceFolder
from edge.ledger import Ledger, LedgerFull
from models.catalogue import Catalogue, Product
from tests.cloud_sync.a_device import an_event, until

COLA = Product("cola", "Cola 33 cl", price_minor=150)


def a_bundle() -> Any:
    def group(name: str) -> Any:
        raise KeyError(name)

    return SimpleNamespace(
        bundle_id="test", version=3, digest="0" * 64, catalogue=Catalogue([COLA]), group=group
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    ledger.open_session("s-1", 0.0)
    yield ledger
    ledger.close()


Start = Callable[..., Bookkeeper]


@pytest.fixture
def start(tmp_path: Path, ledger: Ledger) -> Iterator[Start]:
    started: list[Bookkeeper] = []

    def start(books: Any = ledger, min_free_mb: int = 0) -> Bookkeeper:
        evidence = EvidenceFolder(tmp_path / "evidence", min_free_mb)
        started.append(Bookkeeper(books, evidence, a_bundle(), time.time))
        started[-1].start()
        return started[-1]

    yield start
    for bookkeeper in started:
        bookkeeper.stop()


def test_an_event_is_booked_at_the_bundles_price_with_its_evidence(
    start: Start, ledger: Ledger, tmp_path: Path
) -> None:
    bookkeeper = start()

    bookkeeper.submit(an_event("e-1", quantity=2))
    until(lambda: bookkeeper.idle)

    (line,) = ledger.cart("s-1").lines
    assert (line.sku, line.amount_minor) == ("cola", 300)
    assert line.evidence == ("e-1/crop-0.jpg", "e-1/before.jpg", "e-1/after.jpg")
    assert all((tmp_path / "evidence" / name).is_file() for name in line.evidence)
    assert bookkeeper.recent[0].booking.session == "s-1"


def test_an_event_that_comes_twice_is_booked_and_shown_once(start: Start, ledger: Ledger) -> None:
    bookkeeper = start()

    bookkeeper.submit(an_event("e-1"))
    bookkeeper.submit(an_event("e-1"))
    until(lambda: bookkeeper.idle)

    assert ledger.cart("s-1").total_minor == 150
    assert len(bookkeeper.recent) == 1


def test_without_room_for_pictures_the_event_is_booked_all_the_same(
    start: Start, ledger: Ledger
) -> None:
    bookkeeper = start(min_free_mb=10**9)

    bookkeeper.submit(an_event("e-1"))
    until(lambda: bookkeeper.idle)

    assert ledger.cart("s-1").lines[0].evidence == ()
    assert "not kept" in bookkeeper.problems[0]


def test_a_full_disk_loses_no_event(start: Start, ledger: Ledger) -> None:
    class FullAtFirst:
        tries = 0

        def book(self, *arguments: Any, **named: Any) -> Any:
            self.tries += 1
            if self.tries < 2:
                raise LedgerFull("ledger.db: no room left on the disk")
            return ledger.book(*arguments, **named)

    bookkeeper = start(FullAtFirst())

    bookkeeper.submit(an_event("e-1"))
    bookkeeper.submit(an_event("e-2"))
    until(lambda: bool(bookkeeper.problems))
    assert "no room left" in bookkeeper.problems[0]
    until(lambda: bookkeeper.idle)

    assert bookkeeper.problems == ()
    assert ledger.cart("s-1").lines[0].quantity == 2


def test_stopping_books_what_was_handed_in(start: Start, ledger: Ledger) -> None:
    bookkeeper = start()
    for number in range(30):
        bookkeeper.submit(an_event(f"e-{number}"))

    bookkeeper.stop()

    assert ledger.cart("s-1").lines[0].quantity == 30
    assert bookkeeper.submit(an_event("late")) is False
