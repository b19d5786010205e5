from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from fastapi.testclient import TestClient

from cloud_sync.broker import free_port
from cloud_sync.hub.app import create_app
from cloud_sync.hub.commands import hub as hub_command
from cloud_sync.hub.database import (
    DatabaseError,
    check,
    latest_revision,
    migrate,
    open_database,
)
from cloud_sync.hub.store import Arrived, Store, ranges
from cloud_sync.hub.tables import Base
from cloud_sync.messages import LineSettled, SessionClosed, SessionOpened, encode
from tests.edge.test_cart import a_settlement, an_item

TOPIC = "shelfgate/v1/store-1/box-1/events"


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    engine = open_database(str(tmp_path / "hub.db"))
    with pytest.raises(DatabaseError, match="no database yet: run `shelfgate hub migrate`"):
        check(engine)
    assert not list(tmp_path.iterdir())
    migrate(engine)
    migrate(engine)
    check(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense://x", "://", "sqlite:////proc/no/hub.db"])
def test_a_database_that_cannot_be_is_one_line_and_exit_code_2(url: str) -> None:
    for command in ("migrate", "serve"):
        result = CliRunner().invoke(hub_command, [command, "--database", url])
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") <= 2
        assert "database" in result.stderr


def test_a_database_that_does_not_answer_yet_may_later_and_is_exit_code_1() -> None:
    url = f"postgresql+psycopg://hub@127.0.0.1:{free_port()}/hub"
    for command in ("migrate", "serve"):
        result = CliRunner().invoke(hub_command, [command, "--database", url])
        assert result.exit_code == 1, result.output
        assert "the database does not answer" in result.stderr or "migrated" in result.stderr


def test_a_port_that_is_taken_may_be_free_later_and_is_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        database = ["--migrate", "--database", str(tmp_path / "hub.db")]
        database += ["--evidence", str(tmp_path / "evidence")]
        result = CliRunner().invoke(hub_command, ["serve", "--port", port, *database])
    assert result.exit_code == 1, result.output
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def test_migrate_prints_json(tmp_path: Path) -> None:
    arguments = ["migrate", "--database", str(tmp_path / "hub.db"), "--json"]
    result = CliRunner().invoke(hub_command, arguments)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"revision": latest_revision()})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    engine = open_database(str(tmp_path / "hub.db"))
    migrate(engine)
    return Store(engine)


@pytest.fixture
def api(store: Store) -> TestClient:
    return TestClient(create_app(store._engine, is_open=True))


def opened(session: str, sequence: int) -> SessionOpened:
    return SessionOpened(
        event_id=f"{session}/opened",
        ledger="l",
        sequence=sequence,
        recorded_at=float(sequence),
        session=session,
        at_s=0.0,
    )


def arrive(store: Store, *messages: object, topic: str = TOPIC) -> None:
    store.take(Arrived(topic, encode(one)) for one in messages)  # type: ignore[arg-type]


def test_a_cart_is_right_whatever_the_order_of_arrival(store: Store, api: TestClient) -> None:
    nobodys = an_item(4, session=None)
    moved: LineSettled = a_settlement(5, 4, "chips", "s")
    arrive(store, moved, an_item(3, "return"))
    arrive(store, nobodys, an_item(2))
    assert api.get("/carts/s").status_code == 404
    arrive(store, opened("s", 1), an_item(2))
    cart = api.get("/carts/s").json()
    assert [(one["sku"], one["quantity"]) for one in cart["lines"]] == [("chips", 1)]
    assert cart["reviews"] == []
    assert api.get("/reviews").json() == []


def test_a_closing_that_comes_before_its_opening_is_a_receipt(
    store: Store, api: TestClient
) -> None:
    closing = SessionClosed(
        event_id="s/closed",
        ledger="l",
        sequence=9,
        recorded_at=9.0,
        session="s",
        at_s=1.0,
        total_minor=0,
        currency=None,
        reviews=0,
    )
    arrive(store, closing)
    arrive(store, opened("s", 1))
    (receipt,) = api.get("/receipts").json()
    assert (receipt["opened_at"], receipt["closed_at"]) == (1.0, 9.0)
    assert api.get("/carts").json() == []


def test_two_devices_may_use_the_same_ids(store: Store, api: TestClient) -> None:
    arrive(store, opened("s", 1), an_item(2))
    arrive(store, opened("s", 1), topic=TOPIC.replace("box-1", "box-2"))
    answer = api.get("/carts/s")
    assert (answer.status_code, "several devices" in answer.json()["detail"]) == (409, True)
    assert api.get("/carts/s", params={"device": "box-1"}).json()["total_minor"] == 150
    assert api.get("/carts/s", params={"device": "box-2"}).json()["total_minor"] == 0


def test_reviews_of_nobody_are_listed_until_settled(store: Store, api: TestClient) -> None:
    arrive(store, an_item(1, session=None))
    (review,) = api.get("/reviews").json()
    assert (review["event_id"], review["reason"]) == ("e1", "several_sessions")
    arrive(store, a_settlement(2, 1, None, None))
    assert api.get("/reviews").json() == []


@pytest.mark.parametrize(
    "path",
    [
        "/carts?limit=0",
        "/carts?limit=x",
        "/events?after=-1",
        "/carts/s?device=a/b",
        "/receipts?offset=-1",
    ],
)
def test_a_wrong_question_is_refused(api: TestClient, path: str) -> None:
    assert api.get(path).status_code == 422


def test_health_says_what_is_wrong(tmp_path: Path, api: TestClient) -> None:
    assert api.get("/healthz").json()["ok"]
    assert api.get("/readyz").json() == {"ok": True, "problem": None}
    empty = TestClient(create_app(open_database(str(tmp_path / "empty.db")), is_open=True))
    answer = empty.get("/readyz")
    assert (answer.status_code, "hub migrate" in answer.json()["problem"]) == (503, True)
    assert empty.get("/carts").status_code == 503


def test_numbers_are_written_as_runs() -> None:
    assert ranges([5, 1, 2, 2, 3, 7]) == ((1, 3), (5, 5), (7, 7))
    assert ranges([]) == ()
