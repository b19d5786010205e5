"""Routes about the pictures behind items, and about a device's dark times."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel
from sqlalchemy import Engine, select

from cloud_sync.hub.access import OPERATE, SEE_FLEET, SEE_STORES, Caller, only
from cloud_sync.hub.answers import PictureAnswer, picture_answer
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.evidence import EvidenceRoom
from cloud_sync.hub.fleet_answers import PATTERN, AddressModel, EventId, ReplyAnswer
from cloud_sync.hub.fleet_tables import OverdueRow
from cloud_sync.hub.orders import Orders
from cloud_sync.hub.routes_stores import Limit, line_of
from cloud_sync.topics import Address

Name = Annotated[str, Path(pattern=PATTERN)]
Asked = Annotated[str | None, Query(pattern=PATTERN)]
Item = Annotated[str, Query(pattern=r"^[\x21-\x7e]{1,200}$")]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class EvidenceAsked(AddressModel):
    """Whose pictures are wanted."""

    item: EventId


class DarkAnswer(BaseModel):
    """How a device was at a moment without a line."""

    at: float
    waiting: int
    last_sequence: int
    problem: str


def evidence_routes(
    engine: Engine, room: EvidenceRoom | None, courier: Courier | None
) -> APIRouter:
    """Give the routes. room: None where this hub keeps no pictures."""
    router = APIRouter(tags=["evidence"])

    def there() -> EvidenceRoom:
        if room is None:
            raise HTTPException(404, "this hub keeps no pictures")
        return room

    @router.get("/evidence", **only(SEE_STORES))
    def of_item(item: Item, site: Asked = None, device: Asked = None) -> list[PictureAnswer]:
        """An item's pictures."""
        found = there().of_item(item, site=site, device=device)
        return [picture_answer(one) for one in found]

    @router.get("/evidence/{sha256}", **only(SEE_STORES))
    def picture(sha256: Digest) -> Response:
        """A picture."""
        try:
            data = there().pictures.read(sha256)
        except OSError as error:
            raise HTTPException(503, f"the store of pictures does not answer: {error}") from error
        if data is None:
            raise HTTPException(404, "there is no such picture, or not any more")
        return Response(data, media_type="image/jpeg")

    @router.post("/evidence", **only(OPERATE))
    def ask(asked: EvidenceAsked, who: Caller) -> ReplyAnswer:
        """Ask a device for an item's pictures; they come when its line is quiet."""
        orders = Orders(engine, line_of(courier))
        return orders.send_evidence(who, Address(asked.site, asked.device), asked.item)

    _add_log(router, engine)
    return router


def _add_log(router: APIRouter, engine: Engine) -> None:
    @router.get("/devices/{site}/{device}/log", **only(SEE_FLEET))
    def log(site: Name, device: Name, limit: Limit = 100) -> list[DarkAnswer]:
        """How a device was while its line was down, newest first."""
        which = (
            select(OverdueRow.__table__)
            .where(OverdueRow.site == site, OverdueRow.device == device)
            .order_by(OverdueRow.at.desc())
            .limit(limit)
        )
        with engine.connect() as connection:
            rows = connection.execute(which).all()
        return [
            DarkAnswer(
                at=row.at,
                waiting=row.waiting,
                last_sequence=row.last_sequence,
                problem=row.problem,
            )
            for row in rows
        ]
