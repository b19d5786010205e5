"""What each device should be and what it says it is, at the hub.

A wish is a row here first and a retained message at the broker after; the steward publishes what
is not published yet, or what a device seems not to have heard. A device that knows a newer wish
than the hub does (the hub was restored from a backup) is given the hub's again, under a newer
version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, case, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cloud_sync.hub.fleet_tables import ShadowRow
from cloud_sync.hub.tables import DeviceRow
from cloud_sync.messages import Desired, Reported
from cloud_sync.topics import Address

EMPTY = {
    "desired_version": 0,
    "desired_bundle": None,
    "sent_version": 0,
    "reported_version": 0,
    "reported_bundle": None,
    "state": "running",
    "failed_bundle": None,
    "detail": "",
    "unread": 0,
    "unread_dropped": 0,
    "evidence_dropped": 0,
    "reported_at": None,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish that is to be published."""

    address: Address
    desired: Desired


def dialect_insert(bind: Engine | Connection) -> Callable[[Any], Any]:
    """Give the insert of a database that knows ON CONFLICT."""
    return postgresql.insert if bind.dialect.name == "postgresql" else sqlite.insert


def note_reported(
    connection: Connection, reports: Iterable[tuple[Address, Reported]], now: float
) -> None:
    """Write down what devices say of themselves; the last word of each counts."""
    rows = {
        address: {
            "reported_version": one.desired_version,
            "reported_bundle": one.bundle,
            "state": one.state,
            "failed_bundle": one.failed_bundle,
            "detail": one.detail.replace("\0", "?"),
            "unread": one.unread,
            "unread_dropped": one.unread_dropped,
            "evidence_dropped": one.evidence_dropped,
            "reported_at": now,
        }
        for address, one in reports
    }
    insert = dialect_insert(connection)
    for address in sorted(rows):
        key = {"site": address.site, "device": address.device}
        statement = insert(ShadowRow).values(**key, **{**EMPTY, **rows[address]})
        statement = statement.on_conflict_do_update(index_elements=list(key), set_=rows[address])
        connection.execute(statement)


def wish(connection: Connection, address: Address, bundle: str | None) -> None:
    """Want a device to run a bundle; every call is a new version."""
    insert = dialect_insert(connection)
    key = {"site": address.site, "device": address.device}
    values = {**EMPTY, "desired_version": 1, "desired_bundle": bundle}
    newer = or_known(ShadowRow.desired_version, ShadowRow.reported_version)
    statement = insert(ShadowRow).values(**key, **values)
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={"desired_version": newer, "desired_bundle": bundle}
    )
    connection.execute(statement)


def or_known(desired: Any, reported: Any) -> Any:
    """Give a version that is newer than both."""
    return case((desired > reported, desired), else_=reported) + 1


class Shadows:
    """The wishes that have to go out. clock: Unix seconds.

    again_s: after how long a wish that an online device does not mention is published again.
    """

    def __init__(
        self, engine: Engine, clock: Callable[[], float] = time.time, again_s: float = 60.0
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._again_s = again_s
        self._published: dict[tuple[Address, int], float] = {}

    def mend(self) -> int:
        """Give wishes a newer version where a device knows more than the hub. Count them."""
        behind = and_(
            ShadowRow.desired_version > 0, ShadowRow.reported_version > ShadowRow.desired_version
        )
        newer = update(ShadowRow).where(behind)
        with self._engine.begin() as connection:
            newer = newer.values(desired_version=ShadowRow.reported_version + 1)
            return connection.execute(newer).rowcount

    def due(self, limit: int = 1_000) -> list[Wish]:
        """Give wishes that were not published yet, or not heard."""
        same = and_(DeviceRow.site == ShadowRow.site, DeviceRow.device == ShadowRow.device)
        unsent = ShadowRow.sent_version < ShadowRow.desired_version
        unheard = and_(
            ShadowRow.reported_version < ShadowRow.desired_version, DeviceRow.online.is_(True)
        )
        which = (
            select(ShadowRow.__table__)
            .outerjoin(DeviceRow, same)
            .where(or_(unsent, unheard))
            .order_by(unsent.desc(), ShadowRow.site, ShadowRow.device)
            .limit(10 * limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(which).all()
        now = self._clock()
        wishes = []
        for row in rows:
            address = Address(row.site, row.device)
            last = self._published.get((address, row.desired_version))
            if row.sent_version < row.desired_version or last is None or now > last + self._again_s:
                desired = Desired(version=row.desired_version, bundle=row.desired_bundle)
                wishes.append(Wish(address, desired))
        return wishes[:limit]

    def published(self, wishes: Iterable[Wish]) -> None:
        """Note that wishes are at the broker."""
        now = self._clock()
        with self._engine.begin() as connection:
            for one in wishes:
                self._published[one.address, one.desired.version] = now
                connection.execute(
                    update(ShadowRow)
                    .where(ShadowRow.site == one.address.site)
                    .where(ShadowRow.device == one.address.device)
                    .where(ShadowRow.sent_version < one.desired.version)
                    .values(sent_version=one.desired.version)
                )
