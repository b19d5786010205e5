"""Sites, devices, their labels and groups: what people know of the fleet.

A device is known once it spoke or was named by somebody; what it says of itself is its telemetry
and its shadow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, union

from cloud_sync.hub.audit import Audit, Who
from cloud_sync.hub.fleet_tables import (
    CertificateRow,
    GroupRow,
    LabelRow,
    MemberRow,
    ShadowRow,
    SiteRow,
)
from cloud_sync.hub.tables import DeviceRow, LedgerRow
from cloud_sync.topics import Address

LABELS_MOST = 50


class FleetError(Exception):
    """What was asked cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Site:
    """A store and how many devices of it have spoken."""

    site: str
    title: str
    devices: int


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of devices."""

    name: str
    title: str
    devices: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device, from all sides; a part is None where there is nothing of it.

    missing: entries of its ledgers that it holds for done and the hub does not have.
    certificate_until: Unix seconds to which its last certificate that was not revoked holds.
    """

    address: Address
    telemetry: DeviceRow | None
    shadow: ShadowRow | None
    labels: tuple[str, ...]
    missing: int
    certificate_until: float | None


class Fleet:
    """What people say of sites and devices. clock: Unix seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._audit = Audit(engine, clock)
        self._clock = clock

    def put_site(self, who: Who, site: str, title: str) -> None:
        """Name a store, or give it another title."""
        with self._engine.begin() as connection:
            connection.execute(delete(SiteRow).where(SiteRow.site == site))
            row = {"site": site, "title": title, "created_at": self._clock()}
            connection.execute(insert(SiteRow).values(**row))
            self._audit.write(connection, who, "site.put", site, title=title)

    def drop_site(self, who: Who, site: str) -> bool:
        """Forget a store's title; its devices and carts stay."""
        with self._engine.begin() as connection:
            if not connection.execute(delete(SiteRow).where(SiteRow.site == site)).rowcount:
                return False
            self._audit.write(connection, who, "site.drop", site)
        return True

    def sites(self) -> list[Site]:
        """Give the stores that were named or whose devices spoke, by name."""
        counts = select(DeviceRow.site, func.count().label("n")).group_by(DeviceRow.site)
        with self._engine.connect() as connection:
            spoke = {row.site: int(row.n) for row in connection.execute(counts)}
            named = {row.site: row.title for row in connection.execute(select(SiteRow.__table__))}
        names = sorted({*spoke, *named})
        return [Site(one, named.get(one, ""), spoke.get(one, 0)) for one in names]

    def addresses(self) -> Select[Any]:
        """Give a query for all devices that are known by anything."""
        tables = (DeviceRow, ShadowRow, LabelRow, MemberRow, CertificateRow)
        known = union(*(select(one.site, one.device) for one in tables)).subquery()
        return select(known.c.site, known.c.device).order_by(known.c.site, known.c.device)

    def devices(
        self, limit: int, offset: int = 0, site: str | None = None, label: str | None = None
    ) -> list[DeviceView]:
        """Give devices by name, those of a site or with a label where one is given."""
        known = self.addresses().subquery()
        which = select(known.c.site, known.c.device).order_by(known.c.site, known.c.device)
        if site is not None:
            which = which.where(known.c.site == site)
        if label is not None:
            labelled = (LabelRow.site == known.c.site) & (LabelRow.device == known.c.device)
            which = which.join(LabelRow, labelled).where(LabelRow.label == label)
        with self._engine.connect() as connection:
            rows = connection.execute(which.limit(limit).offset(offset)).all()
            return [_view(connection, Address(row.site, row.device)) for row in rows]

    def device(self, address: Address) -> DeviceView | None:
        """Give one device, None where nobody knows it."""
        with self._engine.connect() as connection:
            view = _view(connection, address)
            given = select(CertificateRow.serial).where(*_is(CertificateRow, address)).limit(1)
            certified = connection.execute(given).first() is not None
        known = view.telemetry or view.shadow or view.labels or certified
        return view if known else None

    def label(self, who: Who, address: Address, labels: Iterable[str]) -> None:
        """Give a device these labels and no others."""
        wanted = sorted(set(labels))
        with self._engine.begin() as connection:
            connection.execute(delete(LabelRow).where(*_is(LabelRow, address)))
            whose = {"site": address.site, "device": address.device}
            if wanted:
                rows = [{**whose, "label": one} for one in wanted]
                connection.execute(insert(LabelRow), rows)
            self._audit.write(connection, who, "device.label", str(address), labels=wanted)

    def put_group(self, who: Who, name: str, title: str, devices: Iterable[Address]) -> None:
        """Make a group of these devices, or make it anew."""
        members = sorted(set(devices))
        with self._engine.begin() as connection:
            self._drop(connection, name)
            connection.execute(insert(GroupRow).values(name=name, title=title))
            if members:
                rows = [{"name": name, "site": a.site, "device": a.device} for a in members]
                connection.execute(insert(MemberRow), rows)
            self._audit.write(
                connection, who, "group.put", name, title=title, devices=[str(a) for a in members]
            )

    def drop_group(self, who: Who, name: str) -> bool:
        """Forget a group; its devices stay."""
        with self._engine.begin() as connection:
            if not self._drop(connection, name):
                return False
            self._audit.write(connection, who, "group.drop", name)
        return True

    def groups(self) -> list[Group]:
        """Give the groups by name."""
        with self._engine.connect() as connection:
            members: dict[str, list[Address]] = {}
            which = select(MemberRow.__table__).order_by(MemberRow.site, MemberRow.device)
            for row in connection.execute(which):
                members.setdefault(row.name, []).append(Address(row.site, row.device))
            rows = connection.execute(select(GroupRow.__table__).order_by(GroupRow.name)).all()
        return [Group(row.name, row.title, tuple(members.get(row.name, ()))) for row in rows]

    def _drop(self, connection: Connection, name: str) -> int:
        connection.execute(delete(MemberRow).where(MemberRow.name == name))
        return connection.execute(delete(GroupRow).where(GroupRow.name == name)).rowcount


def _is(table: Any, address: Address) -> tuple[Any, Any]:
    return table.site == address.site, table.device == address.device


def _view(connection: Connection, address: Address) -> DeviceView:
    def one(table: Any) -> Any:
        which = select(table.__table__).where(*_is(table, address))
        row = connection.execute(which).mappings().one_or_none()
        return None if row is None else table(**row)

    which = select(LabelRow.label).where(*_is(LabelRow, address)).order_by(LabelRow.label)
    missing = select(func.coalesce(func.sum(LedgerRow.missing), 0)).where(*_is(LedgerRow, address))
    until = select(func.max(CertificateRow.expires_at)).where(
        *_is(CertificateRow, address), CertificateRow.revoked_at.is_(None)
    )
    return DeviceView(
        address,
        one(DeviceRow),
        one(ShadowRow),
        tuple(connection.execute(which).scalars()),
        int(connection.execute(missing).scalar_one()),
        connection.execute(until).scalar_one(),
    )
