"""Routes about tokens and the log of changes; and who am I."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from cloud_sync.hub import fleet_answers as words
from cloud_sync.hub.access import ADMIN, Caller, only
from cloud_sync.hub.audit import Audit, Role
from cloud_sync.hub.tokens import Tokens

EVERY_ROLE = frozenset(Role)


def people_routes(tokens: Tokens, audit: Audit) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["people"])

    @router.get("/whoami", **only(EVERY_ROLE))
    def who_am_i(who: Caller) -> dict[str, str]:
        """Whose token this is, and what it may do."""
        return {"name": who.name, "role": who.role.value}

    @router.get("/tokens", **only(ADMIN))
    def all_tokens() -> list[words.TokenAnswer]:
        """The tokens, without their secrets."""
        return [words.token_answer(one) for one in tokens.all()]

    @router.post("/tokens", **only(ADMIN), status_code=201)
    def create(asked: words.TokenAsked, who: Caller) -> words.NewTokenAnswer:
        """Make a token; its text is shown this once."""
        token, text = tokens.create(who, asked.name, asked.role, asked.days)
        return words.NewTokenAnswer(**words.token_answer(token).model_dump(), token=text)

    @router.delete("/tokens/{token}", **only(ADMIN), status_code=204)
    def revoke(token: Annotated[str, Path(pattern=words.PATTERN)], who: Caller) -> None:
        """Make a token worthless."""
        if not tokens.revoke(who, token):
            raise HTTPException(404, "there is no such token, or it is revoked")

    @router.get("/audit", **only(ADMIN))
    def log(
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    ) -> list[words.AuditAnswer]:
        """Who changed what, newest first."""
        return [words.audit_answer(row) for row in audit.newest(limit, before)]

    return router
