"""Routes about what happens in the stores: carts, receipts, reviews, events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from sqlalchemy import Engine

from cloud_sync.hub import answers
from cloud_sync.hub.access import OPERATE, SEE_FLEET, SEE_STORES, Caller, only
from cloud_sync.hub.carts import Carts
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.fleet_answers import PATTERN, ReplyAnswer, SettleAsked
from cloud_sync.hub.orders import Orders
from cloud_sync.topics import Address

Limit = Annotated[int, Query(ge=1, le=1_000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
After = Annotated[int, Query(ge=0, le=2**53)]
Name = Annotated[str | None, Query(pattern=PATTERN)]
Session = Annotated[str, Path(pattern=PATTERN)]


def store_routes(carts: Carts) -> APIRouter:
    """Give the routes that read."""
    router = APIRouter(tags=["stores"])

    @router.get("/carts", **only(SEE_STORES))
    def open_carts(limit: Limit = 100, offset: Offset = 0) -> list[answers.CartAnswer]:
        """The carts of those in the stores, newest first."""
        return [answers.cart_answer(visit) for visit in carts.open(limit, offset)]

    @router.get("/carts/{session}", **only(SEE_STORES))
    def cart(session: Session, site: Name = None, device: Name = None) -> answers.CartAnswer:
        """One session's cart, or its receipt; name the device where several use the same id."""
        found = carts.of_session(session, site, device)
        if not found:
            raise HTTPException(404, f"there is no session {session[:100]!r}")
        if len(found) > 1:
            raise HTTPException(409, "several devices have this session: add site and device")
        return answers.cart_answer(found[0])

    @router.get("/receipts", **only(SEE_STORES))
    def receipts(limit: Limit = 100, offset: Offset = 0) -> list[answers.CartAnswer]:
        """The carts of those who left, newest first."""
        return [answers.cart_answer(visit) for visit in carts.receipts(limit, offset)]

    @router.get("/reviews", **only(SEE_STORES))
    def reviews(limit: Limit = 100) -> list[answers.ReviewAnswer]:
        """Items that belong to nobody; those of a session stand in its cart."""
        return [answers.review_answer(*one) for one in carts.unattributed(limit)]

    @router.get("/events", **only(SEE_FLEET))
    def events(
        after: After = 0,
        limit: Limit = 100,
        site: Name = None,
        device: Name = None,
        session: Name = None,
    ) -> list[answers.EventAnswer]:
        """Entries of the devices' ledgers in the order they came."""
        found = carts.events(after, limit, site=site, device=device, session=session)
        return [answers.event_answer(event) for event in found]

    @router.get("/unread", **only(SEE_FLEET))
    def unread(after: After = 0, limit: Limit = 100) -> list[answers.UnreadAnswer]:
        """Messages that this hub cannot read, of a newer schema or broken; kept as they came."""
        return [answers.unread_answer(row) for row in carts.unread(after, limit)]

    return router


def review_routes(engine: Engine, courier: Courier | None) -> APIRouter:
    """Give the routes by which a person settles things; the device is told and has the last word.

    courier: None where this hub has no broker.
    """
    router = APIRouter(tags=["stores"])

    @router.post("/reviews/settle", **only(OPERATE))
    def settle(asked: SettleAsked, who: Caller) -> ReplyAnswer:
        """Say what an item was and whose, or that it was nothing; its device books it."""
        if (asked.sku is None) != (asked.session is None):
            raise HTTPException(422, "give a product and a session, or neither")
        orders, address = Orders(engine, line_of(courier)), Address(asked.site, asked.device)
        return orders.settle(who, address, asked.item, asked.sku, asked.session)

    return router


def line_of(courier: Courier | None) -> Courier:
    """Give the way to the devices. Raises HTTPException 503 where there is none at the moment."""
    if courier is None or not courier.is_up:
        raise HTTPException(503, "this hub is not connected to a broker")
    return courier
