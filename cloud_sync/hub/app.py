"""The hub, put together: the ingest worker and the API over one database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cloud_sync.hub import answers
from cloud_sync.hub.carts import Carts
from cloud_sync.hub.database import DatabaseError, check
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.workers import Workers
from cloud_sync.messages import NAME_PATTERN

PATTERN = NAME_PATTERN.replace(r"\A", "^").replace(r"\Z", "$")

Limit = Annotated[int, Query(ge=1, le=1_000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
After = Annotated[int, Query(ge=0, le=2**53)]
Name = Annotated[str | None, Query(pattern=PATTERN)]


def create_app(engine: Engine, ingest: Ingest | Workers | None = None) -> FastAPI:
    """Put the hub together.

    ingest: started and stopped with the app; None for an API alone.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if ingest is not None:
            ingest.start()
        yield
        if ingest is not None:
            ingest.stop()

    app = FastAPI(title="shelfgate hub", version="1", lifespan=lifespan)
    app.include_router(_carts(Carts(engine)))
    app.include_router(_health(engine, ingest))

    @app.exception_handler(SQLAlchemyError)
    async def no_database(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the database does not answer"}, status_code=503)

    return app


def _carts(carts: Carts) -> APIRouter:
    router = APIRouter(tags=["carts"])

    @router.get("/carts")
    def open_carts(limit: Limit = 100, offset: Offset = 0) -> list[answers.CartAnswer]:
        """The carts of those in the stores, newest first."""
        return [answers.cart_answer(visit) for visit in carts.open(limit, offset)]

    @router.get("/carts/{session}")
    def cart(session: str, site: Name = None, device: Name = None) -> answers.CartAnswer:
        """One session's cart, or its receipt; name the device where several use the same id."""
        found = carts.of_session(session, site, device)
        if not found:
            raise HTTPException(404, f"there is no session {session[:100]!r}")
        if len(found) > 1:
            raise HTTPException(409, "several devices have this session: add site and device")
        return answers.cart_answer(found[0])

    @router.get("/receipts")
    def receipts(limit: Limit = 100, offset: Offset = 0) -> list[answers.CartAnswer]:
        """The carts of those who left, newest first."""
        return [answers.cart_answer(visit) for visit in carts.receipts(limit, offset)]

    @router.get("/reviews")
    def reviews(limit: Limit = 100) -> list[answers.ReviewAnswer]:
        """Items that belong to nobody; those of a session stand in its cart."""
        return [answers.review_answer(*one) for one in carts.unattributed(limit)]

    @router.get("/events")
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

    @router.get("/devices")
    def devices(limit: Limit = 100, offset: Offset = 0) -> list[answers.DeviceAnswer]:
        """The devices, by name."""
        return [answers.device_answer(row) for row in carts.devices(limit, offset)]

    return router


def _health(engine: Engine, ingest: Ingest | Workers | None) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    def alive() -> answers.HealthAnswer:
        """The process answers."""
        return answers.HealthAnswer(ok=True)

    @router.get("/readyz", responses={503: {"model": answers.HealthAnswer}})
    def ready(response: Response) -> answers.HealthAnswer:
        """The database and the broker answer, and events are taken."""
        try:
            check(engine)
        except DatabaseError as error:
            problem: str | None = str(error)
        else:
            problem = None if ingest is None else ingest.problem
        if problem is not None:
            response.status_code = 503
        return answers.HealthAnswer(ok=problem is None, problem=problem)

    return router
