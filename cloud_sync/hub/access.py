"""Who may call which route of the API.

Every route names its roles with `only(...)`; the OpenAPI document carries them as `x-roles`, and a
test calls every route with every role. A hub started with --open asks nobody: on the own machine
only, for the demo and for tests.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud_sync.hub.audit import Role, Who
from cloud_sync.hub.tokens import Tokens

ADMIN = frozenset({Role.ADMIN})
OPERATE = ADMIN | {Role.OPERATOR}
RELEASE = ADMIN | {Role.DEVELOPER}
SEE_STORES = OPERATE | {Role.VIEWER}
SEE_FLEET = SEE_STORES | {Role.DEVELOPER}
SEE_RELEASES = SEE_FLEET | {Role.PROVIDER}

ANYBODY = Who("anybody on this machine", Role.ADMIN)

_bearer = HTTPBearer(auto_error=False, description="An API token: shelfgate hub token create")


class Access:
    """How the hub knows who asks; tokens: None where everybody may do everything."""

    def __init__(self, tokens: Tokens | None) -> None:
        self.tokens = tokens


def caller(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Who:
    """Say who asks. Raises HTTPException 401."""
    access: Access = request.app.state.access
    if access.tokens is None:
        return ANYBODY
    who = access.tokens.holder(credentials.credentials) if credentials is not None else None
    if who is None:
        detail = "an API token is needed that has not expired: Authorization: Bearer sgt_..."
        raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
    request.state.who = who
    return who


Caller = Annotated[Who, Depends(caller)]


def only(roles: frozenset[Role]) -> dict[str, Any]:
    """Give the arguments of a route that only these roles may call."""

    def check(who: Caller) -> None:
        if who.role not in roles:
            names = ", ".join(sorted(roles))
            raise HTTPException(403, f"the role {who.role.value} may not do this: {names}")

    return {
        "dependencies": [Depends(check)],
        "openapi_extra": {"x-roles": sorted(role.value for role in roles)},
        "responses": {
            401: {"description": "No token, or one that is over"},
            403: {"description": "A role that may not"},
        },
    }
