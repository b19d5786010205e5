"""Who may say what a bundle is: the roles, their keys, and what they sign.

Bundles are TUF targets (The Update Framework, https://theupdateframework.io). Four roles: `root`
says whose keys count, offline; `targets` says which files are bundles, signed by several people;
`snapshot` and `timestamp` say what is current, signed by the hub. Each role's word expires. Pure:
metadata in, metadata out; `cloud_sync.hub.repository` keeps it in files, and the device verifies it
with `tuf.ngclient`.

A target's name is `<bundle>/<version>/<path in the bundle>`; every file of a bundle is one, so that
an update moves only the files that changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from cloud_sync.trust_keys import TrustError

ROLES = ("root", "targets", "snapshot", "timestamp")
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """For how long each role's word holds."""

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=90)
    snapshot: timedelta = timedelta(days=7)
    timestamp: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Holders:
    """The public keys of a role, and how many of them it takes."""

    keys: tuple[Key, ...]
    threshold: int = 1


def expiry(lifetime: timedelta) -> datetime:
    """Say when what is signed now expires."""
    return (datetime.now(UTC) + lifetime).replace(microsecond=0)


def first_root(
    holders: Mapping[str, Holders], signers: Sequence[Signer], lifetimes: Lifetimes
) -> Metadata[Root]:
    """Make the root that devices are given by hand.

    holders: by role, all four. Raises TrustError where a threshold cannot be met, or where signers
    are fewer than root's own.
    """
    root = Root(expires=expiry(lifetimes.root), consistent_snapshot=True)
    for role in ROLES:
        _appoint(root, role, holders[role])
    metadata = Metadata(root)
    sign(metadata, signers)
    _require(root, "root", metadata)
    return metadata


def next_root(
    old: Metadata[Root],
    changes: Mapping[str, Holders],
    signers: Sequence[Signer],
    lifetimes: Lifetimes,
) -> Metadata[Root]:
    """Make the root that follows another: the roles in changes are held by others from then on.

    signers: enough of the old root's holders, and enough of the new one's.
    Raises TrustError where they are not.
    """
    root = copy.deepcopy(old.signed)
    root.version += 1
    root.expires = expiry(lifetimes.root)
    for role, holders in changes.items():
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        _appoint(root, role, holders)
    metadata = Metadata(root)
    sign(metadata, signers)
    for name, judge in (("old", old.signed), ("new", root)):
        try:
            judge.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError as error:
            needed = judge.roles["root"].threshold
            raise TrustError(
                f"too few of the {name} root keys have signed: {needed} needed"
            ) from error
    return metadata


def sign(metadata: Metadata[Root] | Metadata[Targets], signers: Sequence[Signer]) -> None:
    """Add signatures to those that are there."""
    for signer in signers:
        metadata.sign(signer, append=True)


def signatures_missing(root: Root, metadata: Metadata[Targets]) -> int:
    """Count the signatures that a list of targets still needs."""
    result = root.get_verification_result("targets", metadata.signed_bytes, metadata.signatures)
    return result.missing


def next_targets(
    old: Metadata[Targets] | None,
    listed: Mapping[str, TargetFile],
    lifetimes: Lifetimes,
    past: int = 0,
) -> Metadata[Targets]:
    """Make the list of targets that follows another, and version past too; unsigned.

    listed: all of them, by name.
    """
    version = 1 + max(past, 0 if old is None else old.signed.version)
    return Metadata(
        Targets(version=version, expires=expiry(lifetimes.targets), targets=dict(listed))
    )


def next_snapshot(
    old: Metadata[Snapshot] | None,
    targets: bytes,
    version: int,
    signer: Signer,
    life: Lifetimes,
    past: int = 0,
) -> Metadata[Snapshot]:
    """Make a signed snapshot of one version of the targets; its own is no lower, and beyond past.

    targets: the bytes of that version's file.
    """
    number = max(version, past + 1, 1 if old is None else old.signed.version + 1)
    meta = {"targets.json": MetaFile.from_data(version, targets, ["sha256"])}
    metadata = Metadata(Snapshot(version=number, expires=expiry(life.snapshot), meta=meta))
    metadata.sign(signer)
    return metadata


def next_timestamp(
    old: Metadata[Timestamp] | None, snapshot: bytes, version: int, signer: Signer, life: Lifetimes
) -> Metadata[Timestamp]:
    """Make a signed timestamp of one version of the snapshot; its own is no lower."""
    number = max(version, 1 if old is None else old.signed.version + 1)
    meta = MetaFile.from_data(version, snapshot, ["sha256"])
    metadata = Metadata(
        Timestamp(version=number, expires=expiry(life.timestamp), snapshot_meta=meta)
    )
    metadata.sign(signer)
    return metadata


def read_root(content: bytes) -> Metadata[Root]:
    """Read a root and check that it is signed by its own keys. Raises TrustError."""
    try:
        metadata = Metadata[Root].from_bytes(content)
        if not isinstance(metadata.signed, Root):
            raise TrustError("not the metadata of a root")
        metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise TrustError(f"not a root that can be trusted: {error}") from error
    return metadata


def _appoint(root: Root, role: str, holders: Holders) -> None:
    if not 1 <= holders.threshold <= len(holders.keys):
        raise TrustError(
            f"{role}: a threshold of {holders.threshold} cannot be met by {len(holders.keys)} keys"
        )
    for key in holders.keys:
        root.add_key(key, role)
    root.roles[role].threshold = holders.threshold


def _require(root: Root, role: str, metadata: Metadata[Root]) -> None:
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise TrustError(
            f"too few {role} keys have signed: {root.roles[role].threshold} needed"
        ) from error
