"""The signed repository of bundles, as a folder.

    metadata/    N.root.json, N.targets.json, N.snapshot.json, timestamp.json
    files/       every file of every bundle, once, named by its SHA-256
    online/      the keys that sign snapshot and timestamp, and nothing else
    pending.json the next list of targets while it lacks signatures
    log.jsonl    who changed what, by `cloud_sync.hub.changes`

Nothing that is published changes: a new version is written beside the old ones, and the timestamp,
which says what is current, last. A hub that dies in the middle has published nothing. Called by the
`hub repository` and `hub bundle` commands and, for reading, by `cloud_sync.hub.block_server`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from cloud_sync.messages import is_name
from cloud_sync.trust import (
    MANIFEST,
    Holders,
    Lifetimes,
    first_root,
    next_root,
    next_snapshot,
    next_targets,
    next_timestamp,
    read_root,
    sign,
    signatures_missing,
)
from cloud_sync.trust_keys import TrustError, load_signer
from models.bundle import SELF_TEST, Bundle, file_digest

RENEW_BEFORE = 0.5
"""What the hub signs by itself is renewed once less than this share of its time is left."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A bundle that devices may run: its name, version, number of files and their bytes."""

    bundle: str
    version: int
    digest: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Pending:
    """What became of a list of targets: published where missing is 0."""

    version: int
    missing: int
    threshold: int


class Repository:
    """A repository's folder. Raises TrustError in every method that meets a broken one.

    lifetimes: of what is signed from now on.
    """

    def __init__(self, folder: Path, lifetimes: Lifetimes | None = None) -> None:
        self.folder = folder
        self._metadata = folder / "metadata"
        self._files = folder / "files"
        self._pending = folder / "pending.json"
        self._life = lifetimes or Lifetimes()

    def create(
        self,
        holders: Mapping[str, Holders],
        root_signers: Sequence[Signer],
        targets_signers: Sequence[Signer],
        online: Path,
    ) -> Path:
        """Make the repository, with no bundle in it; return the root that devices are given.

        holders: of root and targets. online: the secret key for snapshot and timestamp, which is
        copied in. Raises TrustError where there is one already, or too few have signed.
        """
        if self._metadata.exists():
            raise TrustError(f"{self.folder}: holds a repository already")
        online_signer = load_signer(online)
        hub = Holders((online_signer.public_key,))
        root = first_root({**holders, "snapshot": hub, "timestamp": hub}, root_signers, self._life)
        targets = next_targets(None, {}, self._life)
        sign(targets, targets_signers)
        if missing := signatures_missing(root.signed, targets):
            raise TrustError(f"targets: {missing} more signatures needed")
        for folder in (self._metadata, self._files, self.folder / "online"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "online").chmod(0o700)
        shutil.copyfile(online, self.folder / "online" / "online.pem")
        (self.folder / "online" / "online.pem").chmod(0o600)
        _write(self._metadata / "1.root.json", root.to_bytes())
        _write(self.folder / "root.json", root.to_bytes())
        self._publish(targets)
        return self.folder / "root.json"

    # What is current.

    def root(self) -> Metadata[Root]:
        """Give the newest root."""
        return read_root(self._newest("root"))

    def targets(self) -> Metadata[Targets]:
        """Give the published list of targets."""
        return self._read(Targets, "targets")

    def versions(self) -> dict[str, int]:
        """Say which version of each role's word is current."""
        return {
            "root": self.root().signed.version,
            "targets": self.targets().signed.version,
            "snapshot": self._read(Snapshot, "snapshot").signed.version,
            "timestamp": self._timestamp().signed.version,
        }

    def expiries(self) -> dict[str, datetime]:
        """Say when each role's word expires."""
        return {
            "root": self.root().signed.expires,
            "targets": self.targets().signed.expires,
            "snapshot": self._read(Snapshot, "snapshot").signed.expires,
            "timestamp": self._timestamp().signed.expires,
        }

    def bundles(self) -> list[Listed]:
        """List the bundles that devices may run, by name and version."""
        found: dict[tuple[str, int], list[TargetFile]] = {}
        digests = {}
        for name, target in self.targets().signed.targets.items():
            bundle, version, inside = name.split("/", 2)
            found.setdefault((bundle, int(version)), []).append(target)
            if inside == MANIFEST:
                digests[bundle, int(version)] = target.hashes["sha256"]
        return [
            Listed(
                bundle,
                version,
                digests[bundle, version],
                len(targets),
                sum(t.length for t in targets),
            )
            for (bundle, version), targets in sorted(found.items())
        ]

    # Changes.

    def push(self, bundle: Bundle, signers: Sequence[Signer]) -> Pending:
        """Add a verified bundle; it is published once enough have signed.

        A list that waits for signatures is taken further: its additions are kept.
        """
        prefix = f"{bundle.bundle_id}/{bundle.version}/"
        if not is_name(bundle.bundle_id):
            raise TrustError(
                f"bundle id {bundle.bundle_id!r}: letters, digits and . _ : @ ~ - only"
            )
        if not bundle.self_tests:
            raise TrustError(f"{bundle.path}: no {SELF_TEST}: no box would install it")
        with self._locked():
            added = {}
            for path in _plain_files(bundle.path):
                digest, size = file_digest(path)
                name = prefix + path.relative_to(bundle.path).as_posix()
                added[name] = TargetFile(size, {"sha256": digest}, name)
                self._keep(path, digest)
            known = {k: v for k, v in self._next().items() if k.startswith(prefix)}
            if known and known != added:
                raise TrustError(
                    f"{prefix[:-1]} is there already with other files: give it a higher version"
                )
            return self._propose(
                next_targets(self.targets(), {**self._next(), **added}, self._life), signers
            )

    def withdraw(self, bundle: str, version: int, signers: Sequence[Signer]) -> Pending:
        """Take a bundle out of the list; boxes that run it go on until told otherwise."""
        prefix = f"{bundle}/{version}/"
        with self._locked():
            listed = self._next()
            kept = {k: v for k, v in listed.items() if not k.startswith(prefix)}
            if len(kept) == len(listed):
                raise TrustError(f"{bundle} {version} is not in the repository")
            return self._propose(next_targets(self.targets(), kept, self._life), signers)

    def sign_pending(self, signers: Sequence[Signer]) -> Pending:
        """Add signatures to the list that waits for some; publish it where they are enough."""
        with self._locked():
            if not self._pending.exists():
                raise TrustError(f"{self.folder}: nothing waits for a signature")
            waiting = Metadata[Targets].from_bytes(self._pending.read_bytes())
            if waiting.signed.version <= self.targets().signed.version:
                raise TrustError(f"{self._pending}: something newer is published: push again")
            return self._propose(waiting, signers)

    def sign_again(self, signers: Sequence[Signer], past: int = 0) -> Pending:
        """Let the list of targets hold for longer, with what waits for signatures.

        past: a version that boxes have seen, which everything signed from now on is to be beyond.
        """
        with self._locked():
            listed = next_targets(self.targets(), self._next(), self._life, past)
            return self._propose(listed, signers)

    def renew(self, *, always: bool = False, past: int = 0) -> bool:
        """Sign timestamp and snapshot again where they expire soon; say whether that was needed.

        past: a version that boxes have seen, which they are to be beyond.
        """
        with self._locked():
            now = datetime.now(UTC)
            ends = self.expiries()
            is_due = any(
                ends[role] - now < RENEW_BEFORE * life
                for role, life in (
                    ("snapshot", self._life.snapshot),
                    ("timestamp", self._life.timestamp),
                )
            )
            if is_due or always:
                self._publish(self.targets(), past)
            return is_due or always

    def rotate(self, changes: Mapping[str, Holders], signers: Sequence[Signer],
               online: Path | None = None) -> int:  # fmt: skip
        """Publish a new root in which others hold the roles in changes; return its version.

        online: the new secret key for snapshot and timestamp, where it changes too.
        What was signed by keys that no longer count has to be signed again.
        """
        with self._locked():
            changes = dict(changes)
            if online is not None:
                hub = Holders((load_signer(online).public_key,))
                changes |= {"snapshot": hub, "timestamp": hub}
            root = next_root(self.root(), changes, signers, self._life)
            targets = self.targets()
            if missing := signatures_missing(root.signed, targets):
                renewed = next_targets(targets, targets.signed.targets, self._life)
                sign(renewed, [s for s in signers if _is_held(root.signed, "targets", s)])
                if missing := signatures_missing(root.signed, renewed):
                    raise TrustError(
                        f"the list of targets needs {missing} more signatures of its new holders: "
                        "name their keys as well"
                    )
                targets = renewed
            if online is not None:
                shutil.copyfile(online, self.folder / "online" / "online.pem")
            _write(self._metadata / f"{root.signed.version}.root.json", root.to_bytes())
            self._publish(targets)
            return root.signed.version

    # For the block server.

    def path_of(self, file: str) -> Path:
        """Give the path of a file by its name in an ask; it need not exist.

        file: matches `cloud_sync.blocks.FILE_PATTERN`, so that it leads nowhere else.
        """
        return self.folder / file if file.startswith("metadata/") else self._files / file

    def _next(self) -> dict[str, TargetFile]:
        """Give the targets of the list that waits for signatures, else of the published one."""
        if self._pending.exists():
            waiting = Metadata[Targets].from_bytes(self._pending.read_bytes()).signed
            if waiting.version > self.targets().signed.version:
                return dict(waiting.targets)
        return dict(self.targets().signed.targets)

    def _propose(self, targets: Metadata[Targets], signers: Sequence[Signer]) -> Pending:
        root = self.root().signed
        for signer in signers:
            if not _is_held(root, "targets", signer):
                keyid = signer.public_key.keyid[:12]
                raise TrustError(f"key {keyid} is none of this repository's targets keys")
        sign(targets, signers)
        missing = signatures_missing(root, targets)
        if missing:
            _write(self._pending, targets.to_bytes())
        else:
            self._publish(targets)
            self._pending.unlink(missing_ok=True)
        return Pending(targets.signed.version, missing, root.roles["targets"].threshold)

    def _publish(self, targets: Metadata[Targets], past: int = 0) -> None:
        signer = load_signer(self.folder / "online" / "online.pem")
        root = self.root().signed
        if not _is_held(root, "timestamp", signer):
            raise TrustError(
                f"{self.folder}: root {root.version} names another online key than the one here: "
                "put that key back, or name a new one to `shelfgate hub repository rotate --online`"
            )
        version, content = targets.signed.version, targets.to_bytes()
        path = self._metadata / f"{version}.targets.json"
        if not path.exists():
            _write(path, content)
        is_first = not (self._metadata / "timestamp.json").exists()
        old = None if is_first else self._read(Snapshot, "snapshot")
        snapshot = next_snapshot(old, path.read_bytes(), version, signer, self._life, past)
        number, content = snapshot.signed.version, snapshot.to_bytes()
        _write(self._metadata / f"{number}.snapshot.json", content)
        old_stamp = None if is_first else self._timestamp()
        stamp = next_timestamp(old_stamp, content, number, signer, self._life)
        _write(self._metadata / "timestamp.json", stamp.to_bytes())

    def _keep(self, path: Path, digest: str) -> None:
        kept = self._files / digest
        if not kept.exists():
            _write(kept, path.read_bytes())

    def _read(self, kind: type, role: str) -> Metadata:  # type: ignore[type-arg]
        try:
            return Metadata[kind].from_bytes(self._newest(role))  # type: ignore[valid-type]
        except RepositoryError as error:
            raise TrustError(f"{self._metadata}: {role}: {error}") from error

    def _timestamp(self) -> Metadata[Timestamp]:
        return self._read(Timestamp, "timestamp")

    def _newest(self, role: str) -> bytes:
        try:
            if role == "timestamp":
                return (self._metadata / "timestamp.json").read_bytes()
            numbers = [int(p.name.split(".")[0]) for p in self._metadata.glob(f"*.{role}.json")]
            return (self._metadata / f"{max(numbers)}.{role}.json").read_bytes()
        except (OSError, ValueError) as error:
            raise TrustError(
                f"{self.folder}: no repository here: make one with `shelfgate hub repository init`"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, whatever its process."""
        self._newest("timestamp")
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            except OSError as error:
                raise TrustError(
                    f"{self.folder}: {(error.strerror or str(error)).lower()}"
                ) from error


def _plain_files(folder: Path) -> list[Path]:
    """List a bundle's files. Raises TrustError where there is a link: it may lead anywhere."""
    found = sorted(folder.rglob("*"))
    for path in found:
        if path.is_symlink():
            raise TrustError(
                f"{folder}: {path.relative_to(folder)} is a link; a bundle holds plain files only"
            )
    return [path for path in found if path.is_file()]


def _is_held(root: Root, role: str, signer: Signer) -> bool:
    return signer.public_key.keyid in root.roles[role].keyids


def _write(path: Path, content: bytes) -> None:
    """Put a file in place, whole and on the disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
