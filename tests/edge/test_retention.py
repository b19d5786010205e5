"""Old evidence goes, and the oldest of too much; what somebody still needs stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_sync.kept_count import KeptCount
from edge.evidence import EvidenceFolder
from edge.ledger import Ledger, LedgerFile, Need
from edge.retention import DAY_S, Retention
from tests.cloud_sync.a_device import an_event, book, until

NOW = 1_800_000_000.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    yield ledger
    ledger.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


def keep(root: Path, event_id: str, *, days: float, now: float = NOW) -> None:
    """Write an event's pictures, some 200 kB, as they were written so many days ago."""
    noise = np.random.default_rng(3).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    event = replace(an_event(event_id).event, before=noise, after=noise)
    EvidenceFolder(root, 0).keep(event_id, event)
    os.utime(root / event_id, (now - days * DAY_S,) * 2)


def a_retention(
    root: Path, ledger: Ledger, *, max_share: float = 1.0, now: float = NOW, spare_mb: int = 0
) -> Retention:
    return Retention(
        root,
        keep_days=30,
        max_share=max_share,
        spare_mb=spare_mb,
        need=ledger.evidence_need,
        given_up=KeptCount(root.parent / "given-up"),
        clock=lambda: now,
    )


def sent(ledger: Ledger) -> None:
    """The hub has everything."""
    file = LedgerFile(ledger._file.path, "box-1")
    with file.transaction() as rows:
        rows.execute("DELETE FROM outbox")
    file.close()


def left(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_evidence_goes_when_it_is_old_and_nobody_needs_it(root: Path, ledger: Ledger) -> None:
    for name, days in (("old", 31), ("older", 400), ("new", 29)):
        keep(root, name, days=days)

    pruned = a_retention(root, ledger).prune()

    assert left(root) == {"new"}
    assert pruned.removed == 2
    assert pruned.left > 100_000


def test_what_waits_for_a_person_stays_until_it_is_settled(root: Path, ledger: Ledger) -> None:
    keep(root, "asked", days=400)
    book(ledger, an_event("asked", sku=None))
    sent(ledger)

    a_retention(root, ledger).prune()
    assert left(root) == {"asked"}

    ledger.settle("asked", None, None)
    sent(ledger)
    a_retention(root, ledger).prune()
    assert left(root) == set()


def test_what_the_hub_does_not_have_stays_until_it_does(root: Path, ledger: Ledger) -> None:
    ledger.open_session("s-1", 0.0)
    keep(root, "line", days=400)
    book(ledger, an_event("line"))
    ledger.close_session("s-1", 2.0)

    a_retention(root, ledger).prune()
    assert left(root) == {"line"}

    sent(ledger)
    ledger.settle("line", "cola", "s-1", price_minor=150, currency="EUR")
    a_retention(root, ledger).prune()
    assert left(root) == {"line"}, "a person's word on it is not sent"

    sent(ledger)
    a_retention(root, ledger).prune()
    assert left(root) == set()


def test_where_there_is_no_hub_what_is_not_sent_does_not_stay_for_it(
    root: Path, ledger: Ledger
) -> None:
    ledger.open_session("s-1", 0.0)
    book(ledger, an_event("line"))
    ledger.close_session("s-1", 2.0)
    assert ledger.evidence_need("line") is Need.HUB
    assert ledger.evidence_need("line", unsent=False) is Need.NOBODY


def test_what_is_in_an_open_cart_stays(root: Path, ledger: Ledger) -> None:
    ledger.open_session("s-1", 0.0)
    keep(root, "line", days=400)
    book(ledger, an_event("line"))
    sent(ledger)

    a_retention(root, ledger).prune()
    assert left(root) == {"line"}

    ledger.close_session("s-1", 2.0)
    a_retention(root, ledger).prune()
    assert left(root) == set()


def test_beyond_its_share_of_the_disk_the_oldest_go_first(root: Path, ledger: Ledger) -> None:
    for number in range(6):
        keep(root, f"e-{number}", days=10 - number)
    book(ledger, an_event("e-1", sku=None))
    total = shutil.disk_usage(root).total
    size = a_retention(root, ledger).prune().left

    pruned = a_retention(root, ledger, max_share=size * 0.55 / total).prune()

    assert left(root) == {"e-1", "e-4", "e-5"}
    assert (pruned.removed, pruned.given_up, pruned.short) == (3, 0, 0)


def test_what_was_just_written_stays_although_it_is_not_booked_yet(
    root: Path, ledger: Ledger
) -> None:
    keep(root, "fresh", days=0.001)
    keep(root, "from-tomorrow", days=-1)

    a_retention(root, ledger, max_share=0.0).prune()

    assert left(root) == {"fresh", "from-tomorrow"}


def test_a_box_that_lost_the_time_does_not_lose_its_evidence(root: Path, ledger: Ledger) -> None:
    keep(root, "dated-1970", days=1, now=2 * DAY_S)
    keep(root, "right", days=1)

    a_retention(root, ledger).prune()
    a_retention(root, ledger, now=3 * DAY_S).prune()

    assert left(root) == {"dated-1970", "right"}


def test_what_is_no_events_folder_is_left_alone(root: Path, ledger: Ledger, tmp_path: Path) -> None:
    keep(root, "old", days=400)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("keep me")
    (root / "link").symlink_to(tmp_path / "mine")
    (root / "note.txt").write_text("keep me")

    a_retention(root, ledger, max_share=0.0).prune()

    assert left(root) == {"link", "note.txt"}
    assert (tmp_path / "mine" / "letter").is_file()


def test_an_empty_box_is_no_problem(root: Path, ledger: Ledger) -> None:
    assert a_retention(root, ledger).prune().removed == 0


def a_dark_box(root: Path, ledger: Ledger) -> None:
    """Pictures of every kind of need, the ones most needed oldest; nothing was ever sent."""
    ledger.open_session("gone", 0.0)
    book(ledger, an_event("unsent-old"))
    book(ledger, an_event("unsent-new"))
    ledger.close_session("gone", 2.0)
    ledger.open_session("inside", 3.0)
    book(ledger, an_event("cart"))
    for number in (1, 2):
        book(ledger, an_event(f"asked-{number}", sku=None))
    days = {"asked-1": 9, "asked-2": 8, "cart": 7, "unsent-old": 6, "unsent-new": 5, "free": 4}
    for name, age in days.items():
        keep(root, name, days=age)


@pytest.mark.parametrize(
    ("stay", "which"),
    [
        (6, {"asked-1", "asked-2", "cart", "unsent-old", "unsent-new", "free"}),
        (5, {"asked-1", "asked-2", "cart", "unsent-old", "unsent-new"}),
        (4, {"asked-1", "asked-2", "cart", "unsent-new"}),
        (3, {"asked-1", "asked-2", "cart"}),
        (2, {"asked-1", "asked-2"}),
        (1, {"asked-2"}),
        (0, set()),
    ],
)
def test_at_the_limit_needed_ones_go_too_and_what_a_person_waits_for_last(
    root: Path, ledger: Ledger, stay: int, which: set[str]
) -> None:
    a_dark_box(root, ledger)
    entries = ledger.waiting()
    total = shutil.disk_usage(root).total
    size = a_retention(root, ledger).prune().left

    pruned = a_retention(root, ledger, max_share=(stay + 0.5) / 6 * size / total).prune()

    assert left(root) == which
    assert pruned.given_up == 5 - min(stay, 5)
    assert pruned.asked == sum(name not in which for name in ("asked-1", "asked-2"))
    assert ledger.waiting() == entries, "entries of the ledger never go"
    assert len(ledger.reviews(10)) == 2


def test_what_had_to_go_is_said_and_counted_also_after_a_restart(
    root: Path, ledger: Ledger
) -> None:
    a_dark_box(root, ledger)
    told: list[int] = []
    retention = a_retention(root, ledger, max_share=0.0)
    retention.when_given_up = told.append

    retention.start()
    until(lambda: bool(retention.problems))
    retention.stop()

    assert told == [5]
    (problem,) = retention.problems
    assert "pictures of 5 events went although they were needed, 2 of them by a person" in problem
    again = a_retention(root, ledger, max_share=0.0)
    assert again.given_up.count == 5
    keep(root, "asked-1", days=1)
    again.when_given_up = told.append
    again.start()
    until(lambda: told == [5, 6])
    again.stop()


def test_where_all_is_of_the_last_minutes_it_is_said(root: Path, ledger: Ledger) -> None:
    keep(root, "fresh", days=0.001)
    retention = a_retention(root, ledger, max_share=0.0)
    retention.start()
    until(lambda: bool(retention.problems))
    retention.stop()
    assert left(root) == {"fresh"}
    assert "all of them are of the last minutes" in retention.problems[0]


def test_a_ledger_that_cannot_be_read_removes_nothing_and_is_said(
    root: Path, ledger: Ledger, tmp_path: Path
) -> None:
    keep(root, "old", days=400)
    ledger.close()
    retention = a_retention(root, ledger)

    retention.start()
    until(lambda: bool(retention.problems))
    retention.stop()

    assert left(root) == {"old"}
    assert "cannot be removed" in retention.problems[0]
