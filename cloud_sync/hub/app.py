"""The hub, put together: ingest, API and the rollouts' steward over one database."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cloud_sync.hub.access import Access
from cloud_sync.hub.audit import Audit
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.carts import Carts
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.hub.evidence import EvidenceRoom
from cloud_sync.hub.fleet import Fleet
from cloud_sync.hub.health import Metrics, Worker, health_routes
from cloud_sync.hub.renewals import RenewalDesk
from cloud_sync.hub.rollouts import Rollouts
from cloud_sync.hub.routes_enrolment import enrolment_routes
from cloud_sync.hub.routes_evidence import evidence_routes
from cloud_sync.hub.routes_fleet import bundle_routes, fleet_routes, rollout_routes
from cloud_sync.hub.routes_people import people_routes
from cloud_sync.hub.routes_stores import review_routes, store_routes
from cloud_sync.hub.shadows import Shadows
from cloud_sync.hub.steward import Steward
from cloud_sync.hub.tokens import Tokens

log = logging.getLogger(__name__)


def create_app(
    engine: Engine,
    ingest: Worker | None = None,
    courier: Courier | None = None,
    *,
    enrolments: Enrolments | None = None,
    renewals: RenewalDesk | None = None,
    evidence: EvidenceRoom | None = None,
    evidence_days: float = 90.0,
    is_open: bool = False,
) -> FastAPI:
    """Put the hub together.

    ingest: started and stopped with the app; None for an API alone. courier: the way to devices,
    with which rollouts are stepped; None without a broker. enrolments: how boxes are let in; None
    where that is not done here. renewals: who renews their certificates. evidence: the pictures,
    kept for evidence_days. is_open: nobody needs a token.
    """
    rollouts = Rollouts(engine)
    parts: list[Worker | Steward] = [one for one in (ingest, renewals) if one is not None]
    if courier is not None:
        chores: list[Callable[[], object]] = []
        if evidence is not None:
            chores.append(lambda: evidence.prune(evidence_days))
        if enrolments is not None:
            # The list of the revoked ends after a year, and with it every line to the broker.
            chores.append(enrolments.refresh)
        parts.append(Steward(rollouts, Shadows(engine), courier, chores))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for part in parts:
            part.start()
        yield
        for part in reversed(parts):
            part.stop()
        engine.dispose()

    app = FastAPI(title="shelfgate hub", version="1", lifespan=lifespan)
    tokens, metrics = Tokens(engine), Metrics(engine, ingest)
    app.state.access = Access(None if is_open else tokens)
    app.include_router(store_routes(Carts(engine)))
    app.include_router(review_routes(engine, courier))
    app.include_router(evidence_routes(engine, evidence, courier))
    app.include_router(fleet_routes(Fleet(engine)))
    app.include_router(bundle_routes(Bundles(engine)))
    app.include_router(rollout_routes(rollouts))
    app.include_router(enrolment_routes(enrolments))
    app.include_router(people_routes(tokens, Audit(engine)))
    app.include_router(health_routes(engine, ingest, metrics))
    app.middleware("http")(metrics.measure)
    app.middleware("http")(_write_down)

    @app.exception_handler(SQLAlchemyError)
    async def no_database(_: Request, error: Exception) -> JSONResponse:
        log.error("the database does not answer: %s", str(error)[:300])
        return JSONResponse({"detail": "the database does not answer"}, status_code=503)

    return app


async def _write_down(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Log who asked what; never what was sent along, for there may be secrets in it."""
    begun = time.perf_counter()
    response = await call_next(request)
    who = getattr(request.state, "who", None)
    log.info(
        "%s %s",
        request.method,
        request.url.path,
        extra={
            "status": response.status_code,
            "ms": round(1_000 * (time.perf_counter() - begun), 1),
            "who": "" if who is None else who.name,
        },
    )
    return response
