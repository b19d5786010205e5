"""The pictures behind items: kept by their hash, in a folder or in any store that fsspec knows.

The same picture is kept once. A picture is on its place before the row that names it is committed,
and the device is told after that.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec
from sqlalchemy import Connection, Engine, delete, func, select

from cloud_sync.hub.carts import Carts, chunks
from cloud_sync.hub.fleet_tables import EvidenceRow
from cloud_sync.messages import Evidence, MessageError
from cloud_sync.topics import Address

JPEG = b"\xff\xd8\xff"
DAY_S = 86_400.0


class PictureStore:
    """Where pictures lie. url: a folder, or an address such as s3://bucket/evidence.

    Raises OSError where the place cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with self._explained():
            self._files, self._root = fsspec.core.url_to_fs(url)
            self._files.makedirs(self._root, exist_ok=True)

    def keep(self, evidence: Evidence) -> None:
        """Put a picture in its place.

        Raises MessageError where it is not what it says, OSError where it cannot be kept.
        """
        if hashlib.sha256(evidence.data).hexdigest() != evidence.sha256:
            raise MessageError(f"picture {evidence.name} has another SHA-256 than it says")
        if not evidence.data.startswith(JPEG):
            raise MessageError(f"picture {evidence.name} is no JPEG")
        path = self._path(evidence.sha256)
        with self._explained():
            if not self._files.exists(path):
                self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
                part = f"{path}.{time.monotonic_ns()}.part"
                self._files.pipe_file(part, evidence.data)
                self._files.mv(part, path)

    def read(self, sha256: str) -> bytes | None:
        """Give a picture, None where it is not here. Raises OSError where that cannot be said."""
        try:
            with self._explained():
                data: bytes = self._files.cat_file(self._path(sha256))
        except FileNotFoundError:
            return None
        return data

    def drop(self, sha256: str) -> None:
        """Remove a picture. Raises OSError where the store does not do it."""
        path = self._path(sha256)
        with self._explained():
            if self._files.exists(path):
                self._files.rm_file(path)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # every kind of store has errors of its own
            raise OSError(f"{self._url}: {error}") from error

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}.jpg"


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture of an item."""

    address: Address
    item: str
    name: str
    sha256: str
    size: int
    received_at: float


class EvidenceRoom:
    """Which pictures there are, and for how long. clock: Unix seconds."""

    def __init__(
        self, engine: Engine, pictures: PictureStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self.pictures = pictures
        self._clock = clock

    def of_item(
        self, item: str, *, site: str | None = None, device: str | None = None
    ) -> list[Kept]:
        """Give an item's pictures; of one site or device where ids are used by several."""
        which = select(EvidenceRow.__table__).where(EvidenceRow.item == item)
        for column, value in ((EvidenceRow.site, site), (EvidenceRow.device, device)):
            if value is not None:
                which = which.where(column == value)
        with self._engine.connect() as connection:
            rows = connection.execute(which.order_by(EvidenceRow.name).limit(100)).all()
        return [_kept(row) for row in rows]

    def prune(self, days: float) -> int:
        """Forget what is older than so many days and belongs to no open review; count the rows.

        Raises OSError where the store does not do it; what is left is tried again the next time.
        """
        old = self._older_than(self._clock() - days * DAY_S)
        items: dict[Address, set[str]] = {}
        for one in old:
            items.setdefault(one.address, set()).add(one.item)
        carts = Carts(self._engine)
        waiting = {
            (address, item)
            for address, theirs in items.items()
            for item in carts.open_reviews(address, theirs)
        }
        gone: dict[str, list[Kept]] = {}
        for one in old:
            if (one.address, one.item) not in waiting:
                gone.setdefault(one.sha256, []).append(one)
        for digests in chunks(sorted(gone), 100):
            with self._engine.begin() as connection:
                for sha256 in digests:
                    self._forget(connection, gone[sha256])
        return sum(len(rows) for rows in gone.values())

    def _older_than(self, before: float) -> list[Kept]:
        which = select(EvidenceRow.__table__).where(EvidenceRow.received_at < before)
        with self._engine.connect() as connection:
            return [_kept(row) for row in connection.execute(which)]

    def _forget(self, connection: Connection, rows: list[Kept]) -> None:
        """Take out the rows of one picture, and the picture where none is left."""
        for one in rows:
            connection.execute(
                delete(EvidenceRow).where(
                    EvidenceRow.site == one.address.site,
                    EvidenceRow.device == one.address.device,
                    EvidenceRow.item == one.item,
                    EvidenceRow.name == one.name,
                )
            )
        sha256 = rows[0].sha256
        same = select(func.count()).where(EvidenceRow.sha256 == sha256)
        if connection.execute(same).scalar_one() == 0:
            self.pictures.drop(sha256)


def _kept(row: Any) -> Kept:
    return Kept(
        Address(row.site, row.device), row.item, row.name, row.sha256, row.size, row.received_at
    )
