"""Who changed what, and when: written in the transaction of the change itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from cloud_sync.hub.fleet_tables import AuditRow


class Role(StrEnum):
    """What somebody may do at the hub."""

    ADMIN = "admin"
    OPERATOR = "operator"
    PROVIDER = "provider"
    DEVELOPER = "developer"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks: a token's holder, a person at the hub's own machine, the hub itself."""

    name: str
    role: Role


THE_HUB = Who("the hub", Role.ADMIN)
"""What the hub does by itself, a rollout's next stage for instance."""


class Audit:
    """The log of changes. clock: Unix seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def write(
        self, connection: Connection, who: Who, action: str, subject: str, **detail: Any
    ) -> None:
        """Note a change, in its own transaction. detail: what JSON can hold, and no secret."""
        connection.execute(
            insert(AuditRow).values(
                at=self._clock(),
                who=who.name[:300],
                role=who.role.value,
                action=action,
                subject=subject[:300],
                detail=detail,
            )
        )

    def newest(self, limit: int, before: int | None = None) -> list[AuditRow]:
        """Give changes, newest first. before: only those with a smaller number."""
        which = select(AuditRow.__table__).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            which = which.where(AuditRow.id < before)
        with self._engine.connect() as connection:
            return [AuditRow(**row) for row in connection.execute(which).mappings()]
