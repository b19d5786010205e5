"""What the API answers, as types: they make the OpenAPI document."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel

from cloud_sync.fold import Line, Review
from cloud_sync.hub.carts import Event, Visit
from cloud_sync.hub.evidence import Kept
from cloud_sync.hub.tables import UnreadRow
from cloud_sync.topics import Address


class LineAnswer(BaseModel):
    """A product in a cart; amounts in minor units of the cart's currency."""

    sku: str
    quantity: int
    unit_price_minor: int
    amount_minor: int
    event_ids: list[str]
    evidence: list[str]


class ReviewAnswer(BaseModel):
    """An item that waits for somebody's eye and is charged to nobody."""

    site: str
    device: str
    event_id: str
    session: str | None
    reason: str
    kind: str
    sku: str | None
    quantity: int
    time_s: float
    camera: str
    zone: str
    evidence: list[str]


class CartAnswer(BaseModel):
    """A cart, or a receipt once closed_at is set; times in Unix seconds by the device's clock.

    reviews: open questions; while there are any the total may still change.
    """

    site: str
    device: str
    session: str
    opened_at: float | None
    closed_at: float | None
    lines: list[LineAnswer]
    reviews: list[ReviewAnswer]
    currency: str | None
    total_minor: int


class EventAnswer(BaseModel):
    """An entry of a device's ledger; number: give it as `after` to go on from here."""

    number: int
    site: str
    device: str
    received_at: float
    entry: dict[str, Any]


class PictureAnswer(BaseModel):
    """A picture of an item; the file is at /evidence/{sha256}."""

    site: str
    device: str
    item: str
    name: str
    sha256: str
    size: int
    received_at: float


class UnreadAnswer(BaseModel):
    """A message that this hub could not read and keeps."""

    number: int
    topic: str
    reason: str
    received_at: float
    size: int


class HealthAnswer(BaseModel):
    """Whether the hub is well, and what is wrong where it is not."""

    ok: bool
    problem: str | None = None


def cart_answer(visit: Visit) -> CartAnswer:
    """Put a visit in words."""
    cart = visit.cart
    return CartAnswer(
        site=visit.address.site,
        device=visit.address.device,
        session=cart.session,
        opened_at=visit.opened_at,
        closed_at=visit.closed_at,
        lines=[_line(line) for line in cart.lines],
        reviews=[review_answer(visit.address, review) for review in cart.reviews],
        currency=cart.currency,
        total_minor=cart.total_minor,
    )


def review_answer(address: Address, review: Review) -> ReviewAnswer:
    """Put a review in words."""
    return ReviewAnswer(
        site=address.site,
        device=address.device,
        event_id=review.event_id,
        session=review.session,
        reason=review.reason.value,
        kind=review.kind,
        sku=review.sku,
        quantity=review.quantity,
        time_s=review.time_s,
        camera=review.camera,
        zone=review.zone,
        evidence=list(review.evidence),
    )


def event_answer(event: Event) -> EventAnswer:
    """Put an entry in words."""
    return EventAnswer(
        number=event.number,
        site=event.address.site,
        device=event.address.device,
        received_at=event.received_at,
        entry=msgspec.to_builtins(event.entry),
    )


def _line(line: Line) -> LineAnswer:
    return LineAnswer(
        sku=line.sku,
        quantity=line.quantity,
        unit_price_minor=line.unit_price_minor,
        amount_minor=line.amount_minor,
        event_ids=list(line.event_ids),
        evidence=list(line.evidence),
    )


def picture_answer(kept: Kept) -> PictureAnswer:
    """Put a picture in words."""
    return PictureAnswer(
        site=kept.address.site,
        device=kept.address.device,
        item=kept.item,
        name=kept.name,
        sha256=kept.sha256,
        size=kept.size,
        received_at=kept.received_at,
    )


def unread_answer(row: UnreadRow) -> UnreadAnswer:
    """Put a message that could not be read in words."""
    return UnreadAnswer(
        number=row.id,
        topic=row.topic,
        reason=row.reason,
        received_at=row.received_at,
        size=len(row.payload),
    )
