"""The releases that devices can be told to run."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine, func, insert, select, update

from cloud_sync.hub.audit import Audit, Who
from cloud_sync.hub.fleet import FleetError
from cloud_sync.hub.fleet_tables import BundleRow, ShadowRow


class Bundles:
    """The register of releases; what is in them is the repository's business.

    clock: Unix seconds.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._audit = Audit(engine, clock)
        self._clock = clock

    def register(
        self, who: Who, ref: str, note: str = "", digest: str | None = None, size: int | None = None
    ) -> bool:
        """Make a release known; False where it is already, as it was.

        ref: name and version, as devices say it. digest: SHA-256 of its manifest.
        Raises FleetError where the same name and version has another digest.
        """
        which = select(BundleRow.__table__).where(BundleRow.ref == ref)
        with self._engine.begin() as connection:
            known = connection.execute(which).one_or_none()
            if known is not None:
                if digest not in (None, known.digest):
                    raise FleetError(
                        f"bundle {ref!r} is known with another content: {known.digest}"
                    )
                return False
            row = {"ref": ref, "note": note, "digest": digest, "size": size}
            connection.execute(insert(BundleRow).values(**row, created_at=self._clock()))
            self._audit.write(connection, who, "bundle.register", ref, note=note, digest=digest)
        return True

    def withdraw(self, who: Who, ref: str) -> bool:
        """Let no rollout give it any more; False where it is not known, or was withdrawn."""
        which = update(BundleRow).where(BundleRow.ref == ref, BundleRow.withdrawn_at.is_(None))
        with self._engine.begin() as connection:
            if not connection.execute(which.values(withdrawn_at=self._clock())).rowcount:
                return False
            self._audit.write(connection, who, "bundle.withdraw", ref)
        return True

    def all(self) -> list[tuple[BundleRow, int]]:
        """Give the releases, newest first, with how many devices say that they run each."""
        counts = select(ShadowRow.reported_bundle, func.count().label("n")).group_by(
            ShadowRow.reported_bundle
        )
        which = select(BundleRow.__table__).order_by(BundleRow.created_at.desc(), BundleRow.ref)
        with self._engine.connect() as connection:
            running = {row.reported_bundle: int(row.n) for row in connection.execute(counts)}
            rows = connection.execute(which).mappings().all()
        return [(BundleRow(**row), running.get(row["ref"], 0)) for row in rows]
