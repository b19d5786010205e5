"""What gives way when there is too much: the log first, then pictures; entries never."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_sync.device.extras import Extras, Limits
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.evidence import DAY_S, EvidenceRoom, PictureStore
from cloud_sync.hub.store import Arrived, Store
from cloud_sync.messages import Evidence, LedgerEntry, encode
from tests.edge.test_cart import a_settlement, an_item

ALWAYS = 0.0
NEVER = 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 30))
def test_the_log_goes_before_the_pictures(log: int, pictures: int, entries: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        extras = Extras(Path(folder) / "x.db", Limits(rows=20, log_rows=100, free_share=ALWAYS))
        for _ in range(log):
            extras.note(b"x")
        for number in range(pictures):
            extras.want("item", [f"{number}.jpg"])
        extras.make_room(entries)
        log_left, pictures_left = extras.counts()
        too_many = max(0, entries + log + pictures - 20)
        assert log_left == max(0, log - too_many)
        assert pictures_left == max(0, pictures - max(0, too_many - log))
        extras.close()


def test_on_a_full_disk_everything_but_entries_goes(tmp_path: Path) -> None:
    extras = Extras(tmp_path / "x.db", Limits(free_share=NEVER))
    extras.note(b"x")
    extras.want("item", ["a.jpg"])
    assert extras.make_room(0) == (1, 1)
    assert extras.counts() == (0, 0)
    extras.close()


def test_a_broken_file_of_extras_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"nonsense" * 1_000)
    extras = Extras(tmp_path / "x.db", Limits())
    assert extras.counts() == (0, 0)
    extras.close()


def a_room(folder: Path) -> tuple[list[float], Store, EvidenceRoom]:
    """The time that a hub takes it to be, its store and its pictures."""
    engine = open_database(str(folder / "hub.db"))
    migrate(engine)
    now = [time.time()]
    pictures = PictureStore(str(folder / "pictures"))
    store = Store(engine, lambda: now[0], pictures)
    return now, store, EvidenceRoom(engine, pictures, lambda: now[0])


def picture(data: bytes, sha256: str) -> Arrived:
    message = Evidence(item="e1", name="e1/crop-0.jpg", sha256=sha256, data=data)
    return Arrived("shelfgate/v1/store-1/box-1/evidence", encode(message))


def test_only_what_is_a_picture_and_what_it_says_is_kept(tmp_path: Path) -> None:
    now, store, room = a_room(tmp_path)
    good = b"\xff\xd8\xff" + b"x" * 100
    for data, digest in (
        (good, "0" * 64),
        (b"#!/bin/sh", hashlib.sha256(b"#!/bin/sh").hexdigest()),
    ):
        taken = store.take([picture(data, digest)])
        assert (taken.kept, taken.unread) == ([], 1)
    digest = hashlib.sha256(good).hexdigest()
    for _ in range(2):
        assert len(store.take([picture(good, digest)]).kept) == 1
    assert [one.sha256 for one in room.of_item("e1")] == [digest]
    assert len(list((tmp_path / "pictures").rglob("*.jpg"))) == 1
    assert not list((tmp_path / "pictures").rglob("*.part"))
    assert room.prune(90.0) == 0
    now[0] += 91 * DAY_S
    assert room.prune(90.0) == 1
    assert room.pictures.read(digest) is None


def test_a_store_that_cannot_be_is_an_oserror() -> None:
    with pytest.raises(OSError, match="nonsense"):
        PictureStore("nonsense://x/y")


def of_item(item: str, device: str = "box-1") -> Arrived:
    data = b"\xff\xd8\xff" + item.encode()
    digest = hashlib.sha256(data).hexdigest()
    message = Evidence(item=item, name=f"{item}/crop-0.jpg", sha256=digest, data=data)
    return Arrived(f"shelfgate/v1/store-1/{device}/evidence", encode(message))


def booked(entry: LedgerEntry) -> Arrived:
    return Arrived("shelfgate/v1/store-1/box-1/events", encode(entry))


def test_pictures_of_an_open_review_outlive_the_others_until_it_is_settled(tmp_path: Path) -> None:
    now, store, room = a_room(tmp_path)
    items = [
        an_item(1),
        an_item(2, sku=None),
        an_item(3, sku=None, session=None),
        an_item(4, kind="return", sku="chips"),
        an_item(5, sku=None),
        an_item(6, sku=None, session=None),
    ]
    store.take(booked(one) for one in items)
    store.take([booked(a_settlement(7, 5, None, None)), booked(a_settlement(8, 6))])
    # Another box's item of the same name is nothing that anybody asks about.
    store.take([*(of_item(one.event_id) for one in items), of_item("e2", "box-2")])

    def left() -> list[str]:
        return [f"e{n}" for n in range(1, 7) if room.of_item(f"e{n}", device="box-1")]

    now[0] += 91 * DAY_S
    assert room.prune(90.0) == 4
    assert left() == ["e2", "e3", "e4"]
    assert room.of_item("e2", device="box-2") == []
    assert len(list((tmp_path / "pictures").rglob("*.jpg"))) == 3
    store.take([booked(a_settlement(9, 2)), booked(a_settlement(10, 3, None, None))])
    assert room.prune(90.0) == 2
    assert left() == ["e4"]
