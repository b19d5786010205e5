"""The hub on a real PostgreSQL: the same tables, the same answers, and two workers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select, update

from cloud_sync.certificate import read_certificate
from cloud_sync.device.enrolment import _request
from cloud_sync.hub.app import create_app
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.authority import Authority
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.database import check, migrate, open_database
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.hub.evidence import EvidenceRoom, PictureStore
from cloud_sync.hub.fleet import Fleet
from cloud_sync.hub.fleet_tables import CertificateRow
from cloud_sync.hub.renewals import RenewalRefused, Renewals
from cloud_sync.hub.rollout_plan import Plan
from cloud_sync.hub.rollouts import Rollouts
from cloud_sync.hub.shadows import Shadows
from cloud_sync.hub.store import Arrived, Store
from cloud_sync.hub.tables import Base, EventRow
from cloud_sync.messages import Evidence, Reported, Telemetry, encode
from cloud_sync.renewal import RenewalAsk
from cloud_sync.topics import Address, Channel
from tests.cloud_sync.a_database import Postgres, programs
from tests.edge.test_cart import an_item

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed"),
]

BOX = Address("store-1", "box-1")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Postgres() as database:
        engine = open_database(database.url)
        migrate(engine)
        yield engine
        engine.dispose()


def birth(address: Address, **more: object) -> Arrived:
    fields = {"online": True, "at": 1.0, "ledger": "l", "bundle": "old 1", **more}
    return Arrived(address.topic(Channel.TELEMETRY), encode(Telemetry(**fields)))  # type: ignore[arg-type]


def test_the_migrations_make_the_tables(engine: Engine) -> None:
    migrate(engine)
    check(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_certificate_that_is_revoked_while_it_is_renewed_has_no_next_one(
    engine: Engine, tmp_path: Path
) -> None:
    """Whichever of the two comes first, the other waits for it."""
    enrolments = Enrolments(engine, Authority.make(tmp_path / "authority"))
    renewals = Renewals(engine, enrolments, clock=lambda: time.time() + 0.9 * 86_400)
    for address in (Address("store-1", "renewed"), Address("store-1", "revoked")):
        key = ec.generate_private_key(ec.SECP256R1())
        issued = enrolments.certify(THE_HUB, address, _request(key), 1.0)
        ask = RenewalAsk(certificate=issued.pem.decode(), request=_request(key).decode())
        held = select(CertificateRow).where(CertificateRow.serial == issued.serial)
        waiting: Future[Any]
        with ThreadPoolExecutor(1) as other:
            with engine.begin() as connection:
                connection.execute(held.with_for_update())
                if address.device == "revoked":
                    waiting = other.submit(renewals.renew, address, ask)
                    now_revoked = update(CertificateRow).where(
                        CertificateRow.serial == issued.serial
                    )
                    connection.execute(now_revoked.values(revoked_at=1.0))
                else:
                    waiting = other.submit(enrolments.revoke, THE_HUB, address)
                    renewals._issue(connection, THE_HUB, address, read_certificate(issued.pem), ask)
                time.sleep(0.5)
                assert not waiting.done()
            if address.device == "revoked":
                with pytest.raises(RenewalRefused, match="revoked"):
                    waiting.result(10)
            else:
                assert waiting.result(10) == 2, "the next one is revoked too"


def test_workers_that_write_the_same_at_once_write_it_once(engine: Engine) -> None:
    entries = [
        Arrived(BOX.topic(Channel.EVENTS), encode(an_item(number))) for number in range(1, 301)
    ]
    problems: list[Exception] = []

    def work(order: int) -> None:
        store = Store(engine)
        try:
            for start in range(0, 300, 60):
                part = entries[start : start + 60]
                store.take([*part[::order], birth(BOX, last_sequence=start + 60)])
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(EventRow)).scalar_one() == 300
    assert Store(engine).take([birth(BOX, last_sequence=300)]).missing == {}


def test_a_late_will_wishes_and_a_rollout(engine: Engine) -> None:
    store = Store(engine)
    other = Address("store-2", "box-2")
    store.take([birth(other, connection="two")])
    store.take([birth(other, connection="one", online=False)])
    device = Fleet(engine).device(other)
    assert device is not None
    assert device.telemetry is not None
    assert device.telemetry.online
    Bundles(engine).register(THE_HUB, "new 2")
    rollouts = Rollouts(engine)
    one = rollouts.start(THE_HUB, "new 2", Plan(site="store-2", stages=("100%",), soak_s=0.0))
    (due,) = Shadows(engine).due()
    assert (due.desired.version, due.desired.bundle) == (1, "new 2")
    Shadows(engine).published([due])
    said = Reported(desired_version=1, bundle="new 2", state="running")
    store.take([Arrived(other.topic(Channel.REPORTED), encode(said))])
    rollouts.step()
    assert rollouts.view(one).state == "done"
    rollouts.roll_back(THE_HUB, one)
    assert [wish.desired.bundle for wish in Shadows(engine).due()] == ["old 1"]


def test_every_page_of_the_api_answers(engine: Engine, tmp_path: Path) -> None:
    import hashlib

    pictures = PictureStore(str(tmp_path))
    data = b"\xff\xd8\xff" + b"x"
    digest = hashlib.sha256(data).hexdigest()
    message = Evidence(item="e1", name="e1/crop-0.jpg", sha256=digest, data=data)
    store = Store(engine, pictures=pictures)
    store.take([Arrived(BOX.topic(Channel.EVIDENCE), encode(message))])
    store.take(
        [Arrived(BOX.topic(Channel.LOG), encode(Telemetry(online=False, at=1.0, ledger="l")))]
    )
    store.take([Arrived("odd \x01 topic", b"\x00\xff")])
    app = create_app(engine, evidence=EvidenceRoom(engine, pictures), is_open=True)
    api = TestClient(app)
    pages = [path for path, about in app.openapi()["paths"].items() if "get" in about]
    for path in pages:
        if "{" not in path and path != "/authority":
            answer = api.get(path, params={"item": "e1"} if path == "/evidence" else {})
            assert answer.status_code == 200, (path, answer.text)
    assert api.get("/devices/store-1/box-1/log").json()[0]["at"] == 1.0
    assert api.get(f"/evidence/{digest}").content == data
