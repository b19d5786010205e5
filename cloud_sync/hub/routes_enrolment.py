"""Routes by which a new box gets its certificate, and by which one is shut out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import BaseModel, Field, StringConstraints

from cloud_sync.hub.access import OPERATE, Caller, only
from cloud_sync.hub.authority import AuthorityError
from cloud_sync.hub.enrolments import EnrolmentRefused, Enrolments
from cloud_sync.hub.fleet_answers import PATTERN, Asked
from cloud_sync.topics import Address

Name = Annotated[str, Path(pattern=PATTERN)]


class EnrolmentAsked(Asked):
    """A box's code and its certificate request (PEM)."""

    code: Annotated[str, StringConstraints(max_length=200)]
    request: Annotated[str, StringConstraints(max_length=10_000)]


class EnrolmentAnswer(BaseModel):
    """Who the box is now: its certificate and the authority's (PEM)."""

    site: str
    device: str
    certificate: str
    authority: str


class CodeAsked(Asked):
    """How long a code is good for."""

    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0


def enrolment_routes(enrolments: Enrolments | None) -> APIRouter:
    """Give the routes. enrolments: None where this hub has no authority."""
    router = APIRouter(tags=["enrolment"])

    def there() -> Enrolments:
        if enrolments is None:
            raise HTTPException(404, "this hub was started without --authority")
        return enrolments

    @router.get("/authority")
    def authority() -> Response:
        """The certificate of this hub's authority, PEM; a box checks it by its code."""
        return Response(there().authority.ca_pem, media_type="application/x-pem-file")

    @router.post("/enrolments", status_code=201)
    def enrol(asked: EnrolmentAsked) -> EnrolmentAnswer:
        """Turn a code into a certificate, once."""
        try:
            address, issued = there().redeem(asked.code, asked.request.encode())
        except EnrolmentRefused as error:
            raise HTTPException(403, str(error)) from error
        except AuthorityError as error:
            raise HTTPException(422, str(error)) from error
        return EnrolmentAnswer(
            site=address.site,
            device=address.device,
            certificate=issued.pem.decode(),
            authority=there().authority.ca_pem.decode(),
        )

    @router.post("/devices/{site}/{device}/code", **only(OPERATE), status_code=201)
    def code(site: Name, device: Name, asked: CodeAsked, who: Caller) -> dict[str, str]:
        """Make a code for a box; it is shown this once."""
        return {"code": there().code(who, Address(site, device), asked.hours)}

    @router.post("/devices/{site}/{device}/revoke", **only(OPERATE))
    def revoke(site: Name, device: Name, who: Caller) -> dict[str, int]:
        """Shut a device out; its carts stay."""
        return {"certificates": there().revoke(who, Address(site, device))}

    return router
