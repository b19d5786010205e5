"""Whether the hub is well, for people, balancers and Prometheus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, Select, func, select

from cloud_sync.hub import answers
from cloud_sync.hub.access import SEE_FLEET, only
from cloud_sync.hub.database import DatabaseError, check
from cloud_sync.hub.fleet_tables import CertificateRow, RolloutRow, ShadowRow
from cloud_sync.hub.tables import DeviceRow, EventRow, LedgerRow, SessionRow, UnreadRow

TEXT = "text/plain; version=0.0.4; charset=utf-8"
ENDING_S = 30 * 86_400.0


class Worker(Protocol):
    """What takes events in: one ingest, or several."""

    @property
    def problem(self) -> str | None:
        """What keeps it from working."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class Metrics:
    """The hub's figures. ingest: None where this hub takes nothing in."""

    def __init__(self, engine: Engine, ingest: Worker | None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(engine, ingest))
        labels = ("method", "route", "status")
        self._requests = Counter(
            "shelfgate_hub_requests", "API requests", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "shelfgate_hub_request_seconds",
            "How long API requests took",
            ("route",),
            registry=self._registry,
        )

    async def measure(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Count a request and its time; a middleware."""
        begun = time.perf_counter()
        response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "none")
        self._requests.labels(request.method, route, str(response.status_code)).inc()
        self._seconds.labels(route).observe(time.perf_counter() - begun)
        return response

    def text(self) -> bytes:
        """Give all of it as Prometheus reads it."""
        return generate_latest(self._registry)


class _Figures(Collector):
    """What the database says at the moment it is asked."""

    def __init__(self, engine: Engine, ingest: Worker | None) -> None:
        self._engine = engine
        self._ingest = ingest

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: asking costs a query."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Ask the database."""
        with self._engine.connect() as connection:
            for name, (what, which) in _numbers().items():
                value = float(connection.execute(which).scalar_one())
                yield GaugeMetricFamily(f"shelfgate_hub_{name}", what, value=value)
        if self._ingest is not None:
            works = 0.0 if self._ingest.problem else 1.0
            yield GaugeMetricFamily("shelfgate_hub_ingest_works", "Events are taken", value=works)


def _numbers() -> dict[str, tuple[str, Select[Any]]]:
    """Give what is counted: by name, what it means and the query."""
    return {
        "devices": ("Devices that ever spoke", select(func.count()).select_from(DeviceRow)),
        "devices_online": (
            "Devices that are connected",
            select(func.count()).select_from(DeviceRow).where(DeviceRow.online.is_(True)),
        ),
        "device_entries_waiting": (
            "Entries that devices have not brought over yet, as they last said",
            select(func.coalesce(func.sum(DeviceRow.waiting), 0)),
        ),
        "entries_missing": (
            "Entries that devices hold for done and the hub does not have",
            select(func.coalesce(func.sum(LedgerRow.missing), 0)),
        ),
        "events_last_number": (
            "Row number of the newest event: its rate is the rate of events",
            select(func.coalesce(func.max(EventRow.id), 0)),
        ),
        "unread": ("Messages kept unread", select(func.count()).select_from(UnreadRow)),
        "device_unread": (
            "Payloads that devices keep because they are newer than they are",
            select(func.coalesce(func.sum(ShadowRow.unread), 0)),
        ),
        "device_unread_dropped": (
            "Payloads newer than a device that it had no room to keep",
            select(func.coalesce(func.sum(ShadowRow.unread_dropped), 0)),
        ),
        "device_evidence_dropped": (
            "Items whose pictures a device let go although they were needed: its disk is full",
            select(func.coalesce(func.sum(ShadowRow.evidence_dropped), 0)),
        ),
        "device_certificates_ending": (
            "Devices whose certificate ends within 30 days: they should have renewed it",
            _ending(time.time() + ENDING_S),
        ),
        "carts_open": (
            "Shoppers in the stores",
            select(func.count()).select_from(SessionRow).where(SessionRow.closed_at.is_(None)),
        ),
        "devices_failed": (
            "Devices that refused or took back a bundle",
            select(func.count()).select_from(ShadowRow).where(ShadowRow.state == "failed"),
        ),
        "rollouts_running": (
            "Rollouts under way",
            select(func.count()).select_from(RolloutRow).where(RolloutRow.state == "running"),
        ),
    }


def _ending(before: float) -> Select[Any]:
    """Count the devices that have no certificate which holds beyond a time, but had one."""
    last = (
        select(func.max(CertificateRow.expires_at).label("until"))
        .where(CertificateRow.revoked_at.is_(None))
        .group_by(CertificateRow.site, CertificateRow.device)
        .subquery()
    )
    return select(func.count()).select_from(last).where(last.c.until < before)


def health_routes(engine: Engine, ingest: Worker | None, metrics: Metrics) -> APIRouter:
    """Give the routes; health is for everybody, figures are not."""
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

    @router.get("/metrics", **only(SEE_FLEET))
    def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type=TEXT)

    return router
