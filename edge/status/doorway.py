"""Check what comes in from the network before anything else sees it.

`Doorway` looks at every request's host, origin and size and puts the security headers on every
answer. `json_fields` and `identifier` check what a request carries.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 4096
ADDRESS_LIMIT = 1024
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,199}")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class BadRequest(Exception):
    """A request that is wrong in itself; status is the HTTP status that says how."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def identifier(what: str, value: str) -> str:
    """Return value if it can be an id: letters, digits, and . _ : @ ~ - after the first character.

    Raises BadRequest.
    """
    if not IDENTIFIER.fullmatch(value):
        raise BadRequest(
            422,
            f"{what} must be 1 to 200 letters, digits or . _ : @ ~ -, a letter or digit first",
        )
    return value


async def json_fields(request: Request, *names: str) -> dict[str, str]:
    """Return the request's JSON object, which must hold exactly the named texts.

    With no names the body may be left out. A JSON body is asked for by its content type, which a
    page of another origin cannot send without being asked first.

    Raises BadRequest.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise BadRequest(415, "send JSON with content-type: application/json")
    body = await _bounded_body(request)
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, "the body is not JSON") from error
    if not isinstance(fields, dict):
        raise BadRequest(400, "the body must be a JSON object")
    unknown = sorted(set(fields) - set(names))
    if unknown:
        raise BadRequest(422, f"unknown field {str(unknown[0])[:64]!r}")
    for name in names:
        if not isinstance(fields.get(name), str):
            raise BadRequest(422, f"field {name!r} is missing or not a text")
    return fields


async def _bounded_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise BadRequest(413, f"the body is larger than {BODY_LIMIT} bytes")
    return body


class Doorway:
    """Middleware: refuses foreign hosts and origins, adds the security headers.

    A host is ours if it is an address, localhost or this machine's name: a page elsewhere that
    has its name resolve to this machine cannot reach the interface.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        answer = self._app if refusal is None else refusal
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return JSONResponse({"error": "this host name is not served here"}, status_code=421)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_LIMIT:
            return JSONResponse({"error": "the address is too long"}, status_code=414)
        origin = headers.get("origin")
        if scope["method"] not in {"GET", "HEAD"} and origin is not None:
            own = f"{scope.get('scheme', 'http')}://{host}"
            if origin.lower() != own.lower():
                return JSONResponse({"error": "another site may not ask this"}, status_code=403)
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
