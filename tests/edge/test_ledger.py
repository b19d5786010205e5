from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_sync.device.outbox import Outbox
from cloud_sync.fold import Review, fold, unattributed
from cloud_sync.messages import LedgerEntry, decode
from edge.cart import Reason
from edge.gate import Verdict
from edge.ledger import Ledger, LedgerError, LedgerFull, SessionError, SettleError
from tests.cloud_sync.a_device import ROOT, an_event, book
from tests.small_disk import a_small_disk


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", "box-1")


def entries_of(path: Path) -> list[LedgerEntry]:
    outbox = Outbox(path, "box-1")
    entries = [decode(row.payload) for row in outbox.waiting_after(0, 10_000)]
    outbox.close()
    return entries  # type: ignore[return-value]


def test_a_booking_is_in_the_cart_and_in_the_outbox(ledger: Ledger, tmp_path: Path) -> None:
    ledger.open_session("anna", 0.0)
    booking = book(ledger, an_event("e1", quantity=2))
    assert booking is not None
    assert (booking.session, booking.amount_minor, booking.reason) == ("anna", 300, None)
    assert ledger.cart("anna").total_minor == 300
    assert ledger.waiting() == 2
    assert [entry.sequence for entry in entries_of(tmp_path / "ledger.db")] == [1, 2]


def test_the_same_event_twice_is_one_line(ledger: Ledger) -> None:
    ledger.open_session("anna", 0.0)
    book(ledger, an_event("e1"))
    assert book(ledger, an_event("e1")) is None
    assert ledger.cart("anna").total_minor == 150
    assert ledger.waiting() == 2


def test_opening_and_closing_twice_changes_nothing_and_an_id_is_never_reused(
    ledger: Ledger,
) -> None:
    ledger.open_session("anna", 0.0)
    assert ledger.open_session("anna", 9.0).opened_s == 0.0
    book(ledger, an_event("e1"))
    receipt = ledger.close_session("anna", 10.0)
    assert (receipt.total_minor, receipt.is_open) == (150, False)
    assert ledger.close_session("anna", 99.0) == receipt
    assert not ledger.open_session("anna", 100.0).is_open
    assert ledger.open_sessions() == ()
    assert ledger.waiting() == 3


def test_with_several_shoppers_a_pick_goes_to_review_and_is_charged_once_settled(
    ledger: Ledger,
) -> None:
    ledger.open_session("anna", 0.0)
    ledger.open_session("ben", 0.0)
    booking = book(ledger, an_event("e1"))
    assert booking is not None
    assert (booking.session, booking.reason) == (None, Reason.SEVERAL_SESSIONS)
    assert [cart.total_minor for cart in ledger.carts()] == [0, 0]
    ledger.settle("e1", "cola", "ben", price_minor=150, currency="EUR", by="staff:eva")
    assert ledger.reviews() == ()
    assert ledger.cart("ben").total_minor == 150


def test_a_return_goes_to_the_only_one_who_can_have_it_unless_a_pick_is_unclaimed(
    ledger: Ledger,
) -> None:
    ledger.open_session("anna", 0.0)
    book(ledger, an_event("e1"))
    ledger.open_session("ben", 0.0)
    book(ledger, an_event("e2", "return"))
    assert ledger.cart("anna").total_minor == 0
    book(ledger, an_event("e3", sku="soap"))
    ledger.settle("e3", "soap", "ben", price_minor=320, currency="EUR")
    book(ledger, an_event("e4", sku=None))
    unclear = book(ledger, an_event("e5", "return", "soap"))
    assert unclear is not None
    assert unclear.session is None
    ledger.settle("e4", None, None)
    clear = book(ledger, an_event("e6", "return", "soap"))
    assert clear is not None
    assert clear.session == "ben"


def test_a_settlement_that_cannot_be_is_refused_and_leaves_nothing(ledger: Ledger) -> None:
    ledger.open_session("anna", 0.0)
    book(ledger, an_event("e1", "return"))
    before = (ledger.waiting(), ledger.reviews())
    with pytest.raises(SettleError, match="nothing to return"):
        ledger.settle("e1", "cola", "anna", price_minor=150, currency="EUR")
    with pytest.raises(SettleError, match="no item"):
        ledger.settle("e9", "cola", "anna", price_minor=150, currency="EUR")
    with pytest.raises(SessionError, match="no session"):
        ledger.settle("e1", "cola", "ben", price_minor=150, currency="EUR")
    with pytest.raises(SettleError, match="neither"):
        ledger.settle("e1", "cola", None)
    assert (ledger.waiting(), ledger.reviews()) == before


def test_an_event_decided_after_its_shopper_left_is_theirs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", "box-1", timeline="clip")
    ledger.open_session("anna", 0.0)
    ledger.close_session("anna", 10.0)
    ledger.open_session("ben", 10.2)
    late = book(ledger, an_event("e1", time_s=9.5))
    assert late is not None
    assert late.session == "anna"
    assert ledger.cart("anna").total_minor == 150


def test_what_could_not_be_read_again_is_not_booked(ledger: Ledger) -> None:
    ledger.open_session("anna", 0.0)
    with pytest.raises(LedgerError, match="cannot be booked"):
        book(ledger, an_event("no spaces allowed"))
    with pytest.raises(LedgerError, match="cannot be booked"):
        book(ledger, an_event("e1", time_s=float("nan")))
    with pytest.raises(SessionError, match="letters"):
        ledger.open_session("a/b", 0.0)
    assert ledger.waiting() == 1


def test_nobody_changes_or_deletes_an_entry(ledger: Ledger, tmp_path: Path) -> None:
    ledger.open_session("anna", 0.0)
    other = sqlite3.connect(tmp_path / "ledger.db")
    for statement in ("DELETE FROM entries", "UPDATE entries SET session = 'ben'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)


def test_another_device_or_another_file_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="belongs to device 'box-1'"):
        Ledger(tmp_path / "ledger.db", "box-2")
    (tmp_path / "text.db").write_text("no ledger at all, but long enough to look at" * 50)
    with pytest.raises(LedgerError, match=r"text\.db"):
        Ledger(tmp_path / "text.db", "box-1")


def test_many_threads_and_another_ledger_on_the_same_file_lose_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    other = Ledger(tmp_path / "ledger.db", "box-1")
    ledger.open_session("anna", 0.0)

    def book_many(which: int) -> None:
        for number in range(40):
            book(other if which % 2 else ledger, an_event(f"e{which}-{number}"))
            ledger.carts()

    threads = [threading.Thread(target=book_many, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.cart("anna").total_minor == 160 * 150
    assert [one.sequence for one in entries_of(tmp_path / "ledger.db")] == list(range(1, 162))


steps = st.lists(
    st.tuples(
        st.sampled_from(["pick", "pick", "return", "settle", "open", "close"]),
        st.sampled_from(["cola", "chips", None]),
        st.sampled_from(["anna", "ben"]),
        st.integers(0, 15),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_the_running_books_are_always_the_fold_of_the_entries(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str | None, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(path, "box-1")
    for number, (what, sku, name, item) in enumerate(steps):
        try:
            if what == "settle":
                session = name if sku else None
                ledger.settle(f"e{item}", sku, session, price_minor=100, currency="EUR")
            elif what == "open":
                ledger.open_session(name, 0.0)
            elif what == "close":
                ledger.close_session(name, 1.0)
            else:
                verdict = None if sku else Verdict.REJECT
                booking = book(ledger, an_event(f"e{number}", what, sku, verdict=verdict))
                assert booking is not None
                waits = {one.event_id: one.reason for one in ledger.reviews()}
                assert waits.get(f"e{number}") == booking.reason
        except (SessionError, SettleError):
            continue
    entries = entries_of(path)
    reviews: list[Review] = list(unattributed(entries))
    for cart in ledger.carts(open_only=False):
        assert cart == fold(cart.session, entries)
        reviews += cart.reviews
    assert {(one.event_id, one.reason) for one in ledger.reviews()} == {
        (one.event_id, one.reason) for one in reviews
    }
    ledger.close()


def test_a_killed_process_leaves_whole_bookings(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from edge.ledger import Ledger
        from tests.cloud_sync.a_device import an_event, book
        ledger = Ledger(Path(sys.argv[1]), "box-1")
        ledger.open_session("anna", 0.0)
        for number in range(1_000_000):
            book(ledger, an_event(f"e{number}"))
            print(number, flush=True)
    """
    path = tmp_path / "ledger.db"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait()
    ledger = Ledger(path, "box-1")
    (line,) = ledger.cart("anna").lines
    assert line.quantity - sum(one.endswith("\n") for one in told) in (0, 1)
    assert ledger.waiting() == line.quantity + 1
    check = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert check == ("ok",)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with a_small_disk(tmp_path / "small", "600k") as folder:
        yield folder


def test_a_full_disk_is_said_and_nothing_is_half_written(small_disk: Path) -> None:
    ledger = Ledger(small_disk / "ledger.db", "box-1")
    ledger.open_session("anna", 0.0)
    booked = 0
    with pytest.raises(LedgerFull, match="no room left"):  # noqa: PT012
        for number in range(10_000):
            book(ledger, an_event(f"e{number}"))
            booked += 1
    assert booked > 10
    assert ledger.cart("anna").total_minor == 150 * booked
    assert ledger.waiting() == booked + 1
    ledger.close()


def test_no_room_for_a_ledger_leaves_no_file(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with contextlib.suppress(OSError):
        filler.write_bytes(b"x" * 10_000_000)
    with pytest.raises(LedgerFull, match=r"ledger\.db"):
        Ledger(small_disk / "ledger.db", "box-1")
    assert [one.name for one in small_disk.iterdir()] == ["filler"]
