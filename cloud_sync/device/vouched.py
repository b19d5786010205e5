"""What this box may believe about bundles: signed metadata, verified by `tuf.ngclient`.

The newest metadata that was ever verified is kept in a folder; older versions are refused from then
on, also where a power cut took the folder's files, for their versions are remembered besides.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from cloud_sync.device.fetch import Fetcher, MqttFetcher
from cloud_sync.device.slots import sync_tree

LIMITS = UpdaterConfig(
    max_root_rotations=128,
    root_max_length=256_000,
    timestamp_max_length=16_384,
    snapshot_max_length=256_000,
    targets_max_length=5_000_000,
)
ROLES = ("root", "timestamp", "snapshot", "targets")

REASONS: tuple[tuple[type[Exception], str], ...] = (
    (tuf.ExpiredMetadataError, "has expired (or this box's clock is wrong)"),
    (tuf.BadVersionNumberError, "is of another version than it must be, an old one or a mixed one"),
    (tuf.UnsignedMetadataError, "is not signed by enough of those who may"),
    (tuf.LengthOrHashMismatchError, "is not the file that was vouched for"),
    (tuf.DownloadLengthMismatchError, "is longer than it may be"),
    (tuf.DownloadHTTPError, "is not at the hub"),
)

SET_BACK = (tuf.BadVersionNumberError, tuf.UnsignedMetadataError)
"""What a box meets at a hub whose repository was restored from a backup."""


class NotTrusted(Exception):
    """Metadata or a file is not what its holders signed; the text says which and why."""


class Vouched:
    """The metadata as it is after one look at the hub.

    folder: what was verified before. root: the root this box was given by hand.
    floor: by role, the versions that were seen.
    """

    def __init__(
        self, folder: Path, root: bytes, fetcher: Fetcher, floor: Mapping[str, int]
    ) -> None:
        self._folder = folder
        self._root = root
        self._fetcher = fetcher
        self._floor = dict(floor)
        self._updater: Updater | None = None

    def refresh(self) -> dict[str, int]:
        """Bring the metadata up to date and onto the disk; return the versions by role.

        Raises NotTrusted where it is refused, TimeoutError where the hub does not answer,
        Interrupted, or OSError where the disk does not take it.
        """
        try:
            self._updater = Updater(
                str(self._folder),
                "mqtt:/metadata/",
                fetcher=MqttFetcher(self._fetcher),
                config=LIMITS,
                bootstrap=self._root,
            )
            self._updater.refresh()
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            if isinstance(error.__cause__, TimeoutError):
                raise TimeoutError("the hub does not answer") from error
            seen = self._seen() if isinstance(error, SET_BACK) else ""
            raise NotTrusted(f"the signed metadata {explained(error)}{seen}") from error
        sync_tree(self._folder)
        versions = self._versions()
        for role, floor in self._floor.items():
            if versions.get(role, 0) < floor:
                raise NotTrusted(
                    f"the signed metadata is older than what this box has seen: {role} "
                    f"{versions.get(role, 0)}{self._seen()}"
                )
        return versions

    def target(self, name: str) -> TargetFile | None:
        """Give what is signed of a file; None where it is not listed. refresh() comes first."""
        assert self._updater is not None
        return self._updater.get_targetinfo(name)

    def copy_to(self, folder: Path) -> None:
        """Leave a copy of what vouches for a bundle beside it."""
        folder.mkdir()
        for role in ROLES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self._folder / f"{role}.json", folder / f"{role}.json")

    def _seen(self) -> str:
        """Say what a restored repository has to get beyond."""
        seen = ", ".join(f"{role} {version}" for role, version in self._floor.items())
        return f"; this box has seen {seen}" if seen else ""

    def _versions(self) -> dict[str, int]:
        found = {}
        for role in ROLES:
            content = (self._folder / f"{role}.json").read_bytes()
            found[role] = Metadata[Root].from_bytes(content).signed.version
        return found


def explained(error: Exception) -> str:
    """Say in words what is wrong with metadata, and what the verifier said."""
    for kind, words in REASONS:
        if isinstance(error, kind):
            return f"{words}: {error}"
    return f"cannot be used: {error}"
