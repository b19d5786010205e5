"""What the page is told, from a real ledger: names, reasons, and a person's last word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_sync.messages import CloseSession, OpenSession
from edge.bookkeeper import Bookkeeper
from edge.evidence import EvidenceFolder
from edge.ledger import Ledger
from edge.status.app import Refused
from edge.storefront import Identity, Storefront
from models.catalogue import Catalogue, Product
from tests.cloud_sync.a_device import an_event, until


def no_group(name: str) -> Any:
    raise KeyError(name)


BUNDLE: Any = SimpleNamespace(
    bundle_id="test",
    version=3,
    digest="0" * 64,
    groups=(),
    group=no_group,
    catalogue=Catalogue(
        [Product("cola", "Cola 33 cl", price_minor=150), Product("chips", "Chips, salted")]
    ),
)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    """A storefront with a `book` that waits until events are booked."""
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    evidence = EvidenceFolder(tmp_path / "evidence", 0)
    bookkeeper = Bookkeeper(ledger, evidence, BUNDLE, time.time)
    bookkeeper.start()
    identity = Identity("box-1", "store-1", "127.0.0.1:1883")
    storefront = Storefront(identity, (), ledger, bookkeeper, evidence, BUNDLE)

    def book(*events: Any) -> None:
        for event in events:
            bookkeeper.submit(event)
        until(lambda: bookkeeper.idle)

    yield SimpleNamespace(front=storefront, book=book)
    bookkeeper.stop()
    ledger.close()


def test_a_line_has_the_products_name_and_price(shop: Any) -> None:
    shop.front.open_session("s-1")
    shop.book(an_event("e-1", quantity=2))

    state = shop.front.state()

    (line,) = state.carts[0].lines
    assert (line.name, line.quantity, line.amount_minor) == ("Cola 33 cl", 2, 300)
    assert state.events[0].session == "s-1"
    assert shop.front.evidence(*state.events[0].crops[0].split("/")).is_file()
    assert state.sync.link == "off"


def test_an_item_with_nobody_in_the_store_waits_and_says_why(shop: Any) -> None:
    shop.book(an_event("e-1"))

    (review,) = shop.front.state().reviews

    assert review.reason == "Nobody had a session open."
    assert review.event.name == "Cola 33 cl"


def test_a_settled_item_is_in_the_cart_and_shown_as_settled(shop: Any) -> None:
    shop.front.open_session("s-1")
    shop.front.open_session("s-2")
    shop.book(an_event("e-1", sku=None))

    shop.front.settle("e-1", "cola", "s-2")

    state = shop.front.state()
    assert state.reviews == ()
    assert {cart.session: cart.total_minor for cart in state.carts} == {"s-1": 0, "s-2": 150}
    event = state.events[0]
    assert (event.verdict, event.name, event.session) == ("settled", "Cola 33 cl", "s-2")


def test_a_dismissed_item_is_charged_to_nobody(shop: Any) -> None:
    shop.front.open_session("s-1")
    shop.book(an_event("e-1", sku=None))

    shop.front.dismiss("e-1")

    state = shop.front.state()
    assert state.reviews == ()
    assert state.carts[0].total_minor == 0
    assert state.events[0].verdict == "dismissed"


@pytest.mark.parametrize(("sku", "session", "status"), [("none", "s-1", 422), ("cola", "s-9", 404)])
def test_what_cannot_be_settled_is_refused(shop: Any, sku: str, session: str, status: int) -> None:
    shop.front.open_session("s-1")
    shop.book(an_event("e-1", sku=None))

    with pytest.raises(Refused) as refused:
        shop.front.settle("e-1", sku, session)

    assert refused.value.status == status
    assert len(shop.front.state().reviews) == 1


def test_the_gates_commands_are_obeyed_and_may_come_twice(shop: Any) -> None:
    answers = [
        shop.front.obey(OpenSession(session="s-1")),
        shop.front.obey(OpenSession(session="s-1")),
        shop.front.obey(CloseSession(session="s-1")),
        shop.front.obey(CloseSession(session="s-1")),
        shop.front.obey(OpenSession(session="s-1")),
        shop.front.obey(CloseSession(session="s-9")),
    ]

    assert [answer.ok for answer in answers] == [True, True, True, True, False, False]
    assert shop.front.state().carts[0].is_open is False


def test_products_are_found_by_name_and_sku(shop: Any) -> None:
    assert [one.sku for one in shop.front.products("SALT", 10)] == ["chips"]
    assert [one.sku for one in shop.front.products("col", 10)] == ["cola"]
    assert len(shop.front.products("", 1)) == 1
