"""Rollouts: a bundle on its way to devices, stage by stage, and back where it is bad.

Devices run and judge a bundle by themselves (self-test, probation) and report; this reads the
reports, gives the next stage its wishes or calls the rollout off, which gives every device that had
it the bundle from before. A device that is offline finds its wish at the broker when it returns.
Several hubs may step the same rollouts: each change holds only where nothing changed meanwhile.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, insert, select, update

from cloud_sync.hub.audit import THE_HUB, Audit, Who
from cloud_sync.hub.fleet import Fleet, FleetError
from cloud_sync.hub.fleet_tables import (
    BundleRow,
    LabelRow,
    MemberRow,
    RolloutDeviceRow,
    RolloutRow,
    ShadowRow,
)
from cloud_sync.hub.rollout_plan import Count, Plan, from_json, in_turn, verdict
from cloud_sync.hub.shadows import wish
from cloud_sync.hub.tables import DeviceRow
from cloud_sync.topics import Address

ACTIVE = ("running", "paused")


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout as it stands. stage counts from 0; sizes: devices after each stage."""

    id: str
    bundle: str
    state: str
    reason: str
    stage: int
    sizes: tuple[int, ...]
    devices: int
    count: Count
    created_at: float
    by: str
    plan: Plan


class Rollouts:
    """All rollouts. clock: Unix seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._audit = Audit(engine, clock)
        self._clock = clock
        self._fleet = Fleet(engine, clock)

    def start(self, who: Who, bundle: str, plan: Plan) -> str:
        """Begin a rollout; give its id.

        Raises FleetError where the bundle is not known or withdrawn, where nobody is meant, or
        where a device is in another rollout that is not over.
        """
        rollout = f"r-{secrets.token_hex(4)}"
        with self._engine.begin() as connection:
            known = connection.execute(
                select(BundleRow.withdrawn_at).where(BundleRow.ref == bundle)
            ).one_or_none()
            if known is None or known.withdrawn_at is not None:
                what = "is withdrawn" if known else "is not known: register or push it first"
                raise FleetError(f"bundle {bundle!r} {what}")
            devices = self._meant(connection, plan)
            if not devices:
                raise FleetError("there is no device for this rollout")
            self._refuse_busy(connection, devices)
            now = self._clock()
            connection.execute(
                insert(RolloutRow).values(
                    id=rollout,
                    bundle=bundle,
                    plan=plan.to_json(),
                    state="running",
                    reason="",
                    stage=0,
                    created_at=now,
                    stage_at=now,
                    by=who.name[:300],
                )
            )
            self._enlist(connection, rollout, plan, devices)
            self._give(connection, rollout, bundle, 0)
            self._audit.write(connection, who, "rollout.start", rollout, bundle=bundle,
                              devices=len(devices), plan=plan.to_json())  # fmt: skip
        return rollout

    def pause(self, who: Who, rollout: str) -> None:
        """Let no further stage begin. Raises FleetError where it does not run."""
        self._change(who, rollout, ("running",), "paused", "rollout.pause")

    def resume(self, who: Who, rollout: str) -> None:
        """Go on. Raises FleetError where it is not paused."""
        self._change(who, rollout, ("paused",), "running", "rollout.resume")

    def roll_back(self, who: Who, rollout: str, reason: str = "") -> None:
        """Call it off: every device that was given the bundle gets the one from before.

        Raises FleetError where it was called off already.
        """
        self._change(
            who, rollout, (*ACTIVE, "done"), "rolled_back", "rollout.roll_back", reason, undo=True
        )

    def all(self, limit: int = 100, offset: int = 0) -> list[RolloutView]:
        """Give rollouts, newest first."""
        which = select(RolloutRow.id).order_by(RolloutRow.created_at.desc(), RolloutRow.id)
        with self._engine.connect() as connection:
            ids = connection.execute(which.limit(limit).offset(offset)).scalars().all()
            return [view for one in ids if (view := _view(connection, one)) is not None]

    def view(self, rollout: str) -> RolloutView:
        """Give one rollout. Raises FleetError where there is none of that id."""
        with self._engine.connect() as connection:
            view = _view(connection, rollout)
        if view is None:
            raise FleetError(f"there is no rollout {rollout[:100]!r}")
        return view

    def devices(self, rollout: str) -> list[tuple[Address, int, bool, ShadowRow | None]]:
        """Give a rollout's devices: address, stage, whether given, shadow."""
        same = and_(
            ShadowRow.site == RolloutDeviceRow.site, ShadowRow.device == RolloutDeviceRow.device
        )
        which = (
            select(RolloutDeviceRow, ShadowRow)
            .outerjoin(ShadowRow, same)
            .where(RolloutDeviceRow.rollout == rollout)
            .order_by(RolloutDeviceRow.stage, RolloutDeviceRow.site, RolloutDeviceRow.device)
        )
        with self._engine.connect() as connection:
            found = connection.execute(
                which.with_only_columns(
                    RolloutDeviceRow.site,
                    RolloutDeviceRow.device,
                    RolloutDeviceRow.stage,
                    RolloutDeviceRow.given,
                    ShadowRow.state,
                    ShadowRow.reported_bundle,
                    ShadowRow.detail,
                )
            ).all()
        return [
            (
                Address(row.site, row.device),
                row.stage,
                row.given,
                None
                if row.state is None
                else ShadowRow(
                    state=row.state, reported_bundle=row.reported_bundle, detail=row.detail
                ),
            )
            for row in found
        ]

    def step(self) -> None:
        """Look at every rollout that runs, and do what is due."""
        which = select(RolloutRow.id).where(RolloutRow.state == "running")
        with self._engine.connect() as connection:
            ids = connection.execute(which).scalars().all()
        for one in ids:
            with contextlib.suppress(FleetError):  # another hub was quicker
                self._step(one)

    def _step(self, rollout: str) -> None:
        with self._engine.connect() as connection:
            row = connection.execute(
                select(RolloutRow.__table__).where(RolloutRow.id == rollout)
            ).one()
            count = _count(connection, rollout, row.bundle)
        plan = from_json(row.plan)
        what = verdict(plan, count, self._clock() - row.stage_at)
        if what == "abort":
            reason = (
                f"{count.failed} of {count.given} devices failed in stage {row.stage + 1}, "
                f"more than {plan.max_failed:.1%}"
            )
            self._change(THE_HUB, rollout, ("running",), "aborted", "rollout.abort", reason, True)
        elif what == "advance" and row.stage + 1 == len(plan.stages):
            self._change(THE_HUB, rollout, ("running",), "done", "rollout.done")
        elif what == "advance":
            self._advance(rollout, row.bundle, row.stage)

    def _advance(self, rollout: str, bundle: str, stage: int) -> None:
        which = update(RolloutRow).where(
            RolloutRow.id == rollout, RolloutRow.state == "running", RolloutRow.stage == stage
        )
        with self._engine.begin() as connection:
            values = {"stage": stage + 1, "stage_at": self._clock()}
            if connection.execute(which.values(**values)).rowcount:
                self._give(connection, rollout, bundle, stage + 1)
                self._audit.write(connection, THE_HUB, "rollout.advance", rollout, stage=stage + 2)

    def _change(
        self,
        who: Who,
        rollout: str,
        before: tuple[str, ...],
        after: str,
        action: str,
        reason: str = "",
        undo: bool = False,
    ) -> None:
        """undo: give the devices back what they had."""
        which = update(RolloutRow).where(RolloutRow.id == rollout, RolloutRow.state.in_(before))
        with self._engine.begin() as connection:
            if not connection.execute(which.values(state=after, reason=reason[:2_000])).rowcount:
                view = _view(connection, rollout)
                if view is None:
                    raise FleetError(f"there is no rollout {rollout[:100]!r}")
                raise FleetError(f"rollout {rollout} is {view.state}")
            if undo:
                self._take_back(connection, rollout)
            self._audit.write(connection, who, action, rollout, reason=reason)

    def _meant(self, connection: Connection, plan: Plan) -> list[Address]:
        known = self._fleet.addresses().subquery()
        which = select(known.c.site, known.c.device)
        if plan.site is not None:
            which = which.where(known.c.site == plan.site)
        for table, column, value in (
            (LabelRow, LabelRow.label, plan.label),
            (MemberRow, MemberRow.name, plan.group),
        ):
            if value is not None:
                same = and_(table.site == known.c.site, table.device == known.c.device)
                which = which.join(table, same).where(column == value)
        return [Address(row.site, row.device) for row in connection.execute(which)]

    def _refuse_busy(self, connection: Connection, devices: list[Address]) -> None:
        which = (
            select(RolloutDeviceRow.rollout, RolloutDeviceRow.site, RolloutDeviceRow.device)
            .join(RolloutRow, RolloutRow.id == RolloutDeviceRow.rollout)
            .where(RolloutRow.state.in_(ACTIVE))
        )
        meant = set(devices)
        for row in connection.execute(which):
            if Address(row.site, row.device) in meant:
                raise FleetError(
                    f"{row.site}/{row.device} is in rollout {row.rollout}, which is not over"
                )

    def _enlist(
        self, connection: Connection, rollout: str, plan: Plan, devices: list[Address]
    ) -> None:
        telemetry = connection.execute(
            select(DeviceRow.site, DeviceRow.device, DeviceRow.online, DeviceRow.bundle)
        ).all()
        said = {Address(row.site, row.device): row for row in telemetry}
        shadows = connection.execute(
            select(
                ShadowRow.site,
                ShadowRow.device,
                ShadowRow.desired_bundle,
                ShadowRow.reported_bundle,
            )
        ).all()
        had = {
            Address(row.site, row.device): row.desired_bundle or row.reported_bundle
            for row in shadows
        }
        online = {address for address, row in said.items() if row.online}
        order = in_turn(rollout, devices, online)
        sizes = plan.sizes(len(order))
        rows = []
        for place, address in enumerate(order):
            stage = next(number for number, size in enumerate(sizes) if place < size)
            before = had.get(address) or (said[address].bundle if address in said else None)
            rows.append(
                {
                    "rollout": rollout,
                    "site": address.site,
                    "device": address.device,
                    "stage": stage,
                    "before": before,
                    "given": False,
                }
            )
        connection.execute(insert(RolloutDeviceRow), rows)

    def _give(self, connection: Connection, rollout: str, bundle: str, stage: int) -> None:
        which = and_(RolloutDeviceRow.rollout == rollout, RolloutDeviceRow.stage == stage)
        rows = connection.execute(
            select(RolloutDeviceRow.site, RolloutDeviceRow.device).where(which)
        ).all()
        for row in sorted(Address(one.site, one.device) for one in rows):
            wish(connection, row, bundle)
        connection.execute(update(RolloutDeviceRow).where(which).values(given=True))

    def _take_back(self, connection: Connection, rollout: str) -> None:
        which = select(RolloutDeviceRow.__table__).where(
            RolloutDeviceRow.rollout == rollout, RolloutDeviceRow.given.is_(True)
        )
        for row in connection.execute(which.order_by("site", "device")).all():
            wish(connection, Address(row.site, row.device), row.before)


def _view(connection: Connection, rollout: str) -> RolloutView | None:
    row = connection.execute(
        select(RolloutRow.__table__).where(RolloutRow.id == rollout)
    ).one_or_none()
    if row is None:
        return None
    stages = connection.execute(
        select(RolloutDeviceRow.stage).where(RolloutDeviceRow.rollout == rollout)
    ).scalars().all()  # fmt: skip
    plan = from_json(row.plan)
    return RolloutView(
        id=row.id,
        bundle=row.bundle,
        state=row.state,
        reason=row.reason,
        stage=row.stage,
        sizes=tuple(plan.sizes(len(stages))),
        devices=len(stages),
        count=_count(connection, rollout, row.bundle),
        created_at=row.created_at,
        by=row.by,
        plan=plan,
    )


def _count(connection: Connection, rollout: str, bundle: str) -> Count:
    same_shadow = and_(
        ShadowRow.site == RolloutDeviceRow.site, ShadowRow.device == RolloutDeviceRow.device
    )
    same_device = and_(
        DeviceRow.site == RolloutDeviceRow.site, DeviceRow.device == RolloutDeviceRow.device
    )
    which = (
        select(
            ShadowRow.reported_bundle, ShadowRow.failed_bundle, ShadowRow.state, DeviceRow.online
        )
        .select_from(RolloutDeviceRow)
        .outerjoin(ShadowRow, same_shadow)
        .outerjoin(DeviceRow, same_device)
        .where(RolloutDeviceRow.rollout == rollout, RolloutDeviceRow.given.is_(True))
    )
    given = ok = failed = online = online_ok = 0
    for row in connection.execute(which):
        is_ok = row.reported_bundle == bundle and row.state == "running"
        has_failed = row.failed_bundle == bundle
        given, ok, failed = given + 1, ok + is_ok, failed + has_failed
        online += bool(row.online) and not has_failed
        online_ok += bool(row.online) and is_ok
    return Count(given, ok, failed, online, online_ok)
