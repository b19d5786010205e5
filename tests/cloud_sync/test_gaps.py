"""A hub that forgot and a device that was away find their way back to the same ledger."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.gaps import gaps_in
from cloud_sync.hub.store import Arrived, Store
from cloud_sync.hub.tables import DeviceRow
from cloud_sync.messages import Reply, Telemetry, encode
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess, an_event, book, until
from tests.edge.test_cart import an_item

EVENTS = "shelfgate/v1/store-1/box-1/events"
TELEMETRY = "shelfgate/v1/store-1/box-1/telemetry"


@given(st.integers(0, 5), st.sets(st.integers(1, 40)), st.integers(0, 45))
def test_gaps_and_what_is_there_make_up_the_whole(upto: int, there: set[int], last: int) -> None:
    numbers = sorted(one for one in there if upto < one <= last)
    gaps = gaps_in(upto, numbers, last)
    missing = {one for first, end in gaps.runs for one in range(first, end + 1)}
    assert missing == set(range(upto + 1, last + 1)) - set(numbers)
    assert gaps.missing == len(missing)
    assert gaps.upto == (min(missing) - 1 if missing else max([upto, *numbers]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    engine = open_database(str(tmp_path / "hub.db"))
    migrate(engine)
    return Store(engine)


def telemetry(last: int, waiting: int = 0, **more: object) -> Arrived:
    fields = {"online": True, "at": 1.0, "ledger": "l", "last_sequence": last, "waiting": waiting}
    return Arrived(TELEMETRY, encode(Telemetry(**{**fields, **more})))  # type: ignore[arg-type]


def test_what_the_device_holds_for_done_and_is_not_here_is_asked_for(store: Store) -> None:
    store.take(Arrived(EVENTS, encode(an_item(number))) for number in (1, 2, 4, 5, 9))
    (runs,) = store.take([telemetry(10)]).missing.values()
    assert runs == ((3, 3), (6, 8), (10, 10))
    assert store.take([telemetry(10, waiting=5)]).missing == {}
    store.take(Arrived(EVENTS, encode(an_item(number))) for number in (3, 6, 7, 8, 10))
    assert store.take([telemetry(10)]).missing == {}


def test_an_entry_of_a_newer_schema_is_no_gap(store: Store) -> None:
    newer = b'{"schema":9,"type":"x","ledger":"l","sequence":2}'
    store.take([Arrived(EVENTS, encode(an_item(1))), Arrived(EVENTS, newer)])
    assert store.take([telemetry(2)]).missing == {}


def test_a_will_that_comes_late_ends_its_own_connection_only(store: Store) -> None:
    def online() -> bool:
        with store._engine.connect() as connection:
            return bool(connection.execute(select(DeviceRow.online)).scalar_one())

    store.take([telemetry(0, connection="one")])
    store.take([telemetry(0, connection="two")])
    store.take([telemetry(0, online=False, connection="one")])
    assert online()
    store.take([telemetry(0, online=False, connection="two")])
    assert not online()


def an_agent(path: Path, port: int, device: str) -> Agent:
    return Agent(
        path,
        "127.0.0.1",
        port,
        device,
        "store-1",
        lambda _: Reply(ok=True),
        resend_after_s=1.0,
        telemetry_s=0.5,
    )


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker at which no other test's hub takes events."""
    with Broker() as running:
        yield running


def test_a_hub_restored_from_yesterdays_backup_gets_the_day_again(
    tmp_path: Path, own_broker: Broker
) -> None:
    database, backup = tmp_path / "hub.db", tmp_path / "backup.db"
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    hub = HubProcess(str(database), own_broker.port, tmp_path / "hub.log")
    agent = an_agent(tmp_path / "ledger.db", own_broker.port, "box-1")
    agent.start()
    ledger.open_session("anna", 0.0)
    book(ledger, an_event("yesterday"))
    until(lambda: ledger.waiting() == 0)
    with sqlite3.connect(database) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    for number in range(30):
        book(ledger, an_event(f"today-{number}"))
    until(lambda: ledger.waiting() == 0)
    hub.stop()
    for path in tmp_path.glob("hub.db*"):
        path.unlink()
    shutil.copy(backup, database)
    hub.start()
    until(lambda: len(hub.get("/events", limit=1000)) == 32)
    assert hub.totals("box-1") == {"anna": 31 * 150}
    until(lambda: ledger.waiting() == 0)
    agent.stop()
    ledger.close()
    hub.stop()


def test_a_device_that_missed_a_month_sends_it_all(tmp_path: Path, hub: HubProcess) -> None:
    """Its sessions at the old broker are long gone; the outbox is all there is."""
    device = "box-away"
    ledger = Ledger(tmp_path / "ledger.db", device)
    with Broker() as before:
        agent = an_agent(tmp_path / "ledger.db", before.port, device)
        agent.start()
        until(lambda: agent.state.up)
        agent.stop()
    ledger.open_session("anna", 0.0)
    for number in range(600):
        book(ledger, an_event(f"e{number}"))
    agent = an_agent(tmp_path / "ledger.db", hub.broker_port, device)
    agent.start()
    until(lambda: ledger.waiting() == 0)
    agent.stop()
    ledger.close()
    assert hub.totals(device) == {"anna": 600 * 150}
