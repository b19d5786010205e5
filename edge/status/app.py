"""The status page and the appliance's HTTP interface.

The page (page.html, page.css, page.js beside this file) gets the whole state as server-sent events
and fetches pictures by itself. The same interface is what an entry gate calls: a QR scan opens a
session, the exit closes it. Everything that comes in is taken for hostile: sizes, names and origins
are checked here, and the shop behind it is only called with what passed.

    GET  /                                the page
    GET  /api/state, /api/stream          everything on the page, once or as it changes
    GET  /api/carts, /api/products?q=     the carts; products whose sku or name holds the text
    POST /api/sessions                    {"session_id"}: a shopper came in
    POST /api/sessions/{id}/close         the shopper went out
    POST /api/reviews/{event_id}/settle   {"sku", "session_id"}: it was that product, in that cart
    POST /api/reviews/{event_id}/dismiss  it was nothing
    GET  /cameras/{id}.jpg                newest picture, drawn; answers 304 to a matching ETag
    GET  /evidence/{folder}/{name}        one picture of the evidence
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.status import view
from edge.status.doorway import BadRequest, Doorway, identifier, json_fields
from edge.status.picture import CameraPicture, PictureDesk
from edge.status.stream import StateStream, TooManyViewers

PAGE_FILES = {
    "page.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}
SKU = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
EVIDENCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\.jpg")
PRODUCTS_SHOWN = 50


class Refused(Exception):
    """The shop will not do what was asked; status is the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Shop(Protocol):
    """What the page shows and what it may ask for. Every call may come from any thread."""

    def state(self) -> view.State:
        """Return everything on the page."""
        ...

    def picture(self, camera: str) -> CameraPicture | None:
        """Return a camera's newest picture, None before the first; KeyError for no such camera."""
        ...

    def products(self, text: str, limit: int) -> tuple[view.CandidateView, ...]:
        """Return up to limit products whose sku or name holds text."""
        ...

    def evidence(self, folder: str, name: str) -> Path | None:
        """Return the file of one piece of evidence, None where there is none."""
        ...

    def open_session(self, session_id: str) -> None:
        """A shopper came in. Raises Refused."""
        ...

    def close_session(self, session_id: str) -> None:
        """A shopper went out. Raises Refused."""
        ...

    def settle(self, event_id: str, sku: str, session_id: str) -> None:
        """Book a waiting event as sku in the cart of session_id. Raises Refused."""
        ...

    def dismiss(self, event_id: str) -> None:
        """Take a waiting event off the list without charging anybody. Raises Refused."""
        ...


def create_app(shop: Shop, stream: StateStream, desk: PictureDesk | None = None) -> Starlette:
    """Return the page's application.

    stream: tells the viewers when the state changes; run by the server.
    """
    pages = Pages(shop, stream, desk or PictureDesk())
    routes = [
        Route("/", pages.page),
        Route("/page.css", pages.page),
        Route("/page.js", pages.page),
        Route("/favicon.ico", pages.no_icon),
        Route("/api/state", pages.state),
        Route("/api/stream", pages.stream_state),
        Route("/api/carts", pages.carts),
        Route("/api/products", pages.products),
        Route("/api/sessions", pages.open_session, methods=["POST"]),
        Route("/api/sessions/{session_id}/close", pages.close_session, methods=["POST"]),
        Route("/api/reviews/{event_id}/settle", pages.settle, methods=["POST"]),
        Route("/api/reviews/{event_id}/dismiss", pages.dismiss, methods=["POST"]),
        Route("/cameras/{camera}.jpg", pages.picture),
        Route("/evidence/{folder}/{name}", pages.evidence),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Doorway)],
        exception_handlers={
            BadRequest: _refusal,
            Refused: _refusal,
            HTTPException: _http_refusal,
        },
    )


class Pages:
    """The answers, one method a route."""

    def __init__(self, shop: Shop, stream: StateStream, desk: PictureDesk) -> None:
        self._shop = shop
        self._stream = stream
        self._desk = desk
        folder = files("edge.status")
        self._files = {name: folder.joinpath(name).read_bytes() for name in PAGE_FILES}

    async def page(self, request: Request) -> Response:
        """Return the page, its style or its script."""
        name = request.url.path.lstrip("/") or "page.html"
        headers = {"cache-control": "no-cache"}
        return Response(self._files[name], media_type=PAGE_FILES[name], headers=headers)

    async def no_icon(self, request: Request) -> Response:
        """Answer the browser's question for an icon."""
        return Response(status_code=204, headers={"cache-control": "max-age=86400"})

    async def state(self, request: Request) -> Response:
        """Return the whole state as JSON."""
        state = await run_in_threadpool(self._shop.state)
        return Response(view.to_json(state), media_type="application/json")

    async def stream_state(self, request: Request) -> Response:
        """Send the state now and whenever it changes."""
        try:
            events = self._stream.listen()
        except TooManyViewers as error:
            raise Refused(503, str(error)) from error
        return StreamingResponse(events, media_type="text/event-stream")

    async def carts(self, request: Request) -> Response:
        """Return the carts as JSON."""
        state = await run_in_threadpool(self._shop.state)
        return Response(view.carts_json(state.carts), media_type="application/json")

    async def products(self, request: Request) -> Response:
        """Return products whose sku or name holds the text in q."""
        text = request.query_params.get("q", "")[:100]
        found = await run_in_threadpool(self._shop.products, text, PRODUCTS_SHOWN)
        return JSONResponse({"products": [asdict(product) for product in found]})

    async def open_session(self, request: Request) -> Response:
        """Open a session."""
        fields = await json_fields(request, "session_id")
        session_id = identifier("session_id", fields["session_id"])
        await self._do(self._shop.open_session, session_id)
        return JSONResponse({"session_id": session_id, "state": "open"}, status_code=201)

    async def close_session(self, request: Request) -> Response:
        """Close a session."""
        await json_fields(request)
        session_id = identifier("session_id", request.path_params["session_id"])
        await self._do(self._shop.close_session, session_id)
        return JSONResponse({"session_id": session_id, "state": "closed"})

    async def settle(self, request: Request) -> Response:
        """Book a waiting event as a person says."""
        fields = await json_fields(request, "sku", "session_id")
        event_id = identifier("event_id", request.path_params["event_id"])
        session_id = identifier("session_id", fields["session_id"])
        sku = fields["sku"]
        if not SKU.fullmatch(sku):
            raise BadRequest(422, "sku must be 1 to 128 printable characters")
        await self._do(self._shop.settle, event_id, sku, session_id)
        return JSONResponse({"event_id": event_id, "sku": sku, "session_id": session_id})

    async def dismiss(self, request: Request) -> Response:
        """Take a waiting event off the list."""
        await json_fields(request)
        event_id = identifier("event_id", request.path_params["event_id"])
        await self._do(self._shop.dismiss, event_id)
        return JSONResponse({"event_id": event_id, "state": "dismissed"})

    async def picture(self, request: Request) -> Response:
        """Return a camera's newest picture with its zones and boxes."""
        camera = identifier("camera", request.path_params["camera"])
        try:
            picture = await run_in_threadpool(self._shop.picture, camera)
        except KeyError as error:
            raise Refused(404, f"there is no camera {camera!r}") from error
        if picture is None:
            raise Refused(404, f"camera {camera!r} has no picture yet")
        headers = {"etag": f'"{picture.name}"', "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        data = await run_in_threadpool(self._desk.jpeg, camera, picture)
        return Response(data, media_type="image/jpeg", headers=headers)

    async def evidence(self, request: Request) -> Response:
        """Return one picture of the evidence."""
        folder = identifier("folder", request.path_params["folder"])
        name = request.path_params["name"]
        if not EVIDENCE_NAME.fullmatch(name):
            raise Refused(404, "there is no such picture")
        path = await run_in_threadpool(self._shop.evidence, folder, name)
        try:
            data = b"" if path is None else await run_in_threadpool(path.read_bytes)
        except OSError:
            data = b""
        if not data:
            raise Refused(404, "there is no such picture")
        headers = {"cache-control": "max-age=86400, immutable"}
        return Response(data, media_type="image/jpeg", headers=headers)

    async def _do(self, act: Callable[..., None], *arguments: str) -> None:
        await run_in_threadpool(act, *arguments)
        self._stream.look()


async def _refusal(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, BadRequest | Refused) else 500
    return JSONResponse({"error": str(error)}, status_code=status)


async def _http_refusal(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: "there is nothing here", 405: "this address does not take that method"}
    return JSONResponse({"error": words.get(status, "refused")}, status_code=status)
