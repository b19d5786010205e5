"""Put a bundle together from what is here and what has to be fetched.

What a bundle holds is said by its manifest, which is signed, and by the signed list of targets;
where the two differ, or a name could lead outside the bundle's folder, it is refused. A file that
bundle in another slot has already is linked, or copied where that cannot be; one of the bundle that
came with the package is copied.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from cloud_sync.blocks import BLOCK
from cloud_sync.device.download import HalfFile
from cloud_sync.device.fetch import Fetcher, NotThere, Oversized
from cloud_sync.device.vouched import NotTrusted, Vouched
from models.bundle import MANIFEST, BundleError, file_digest, safe_relative

MOST_BYTES = 2 * 1024**3
MOST_MANIFEST = 4 * 1024**2
SPARE_BYTES = 16 * 1024**2
"""Room that is left on the disk for the ledger, whatever is fetched."""


_NO_LISTING = (
    *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
    OverflowError,  # of a size like 1e999
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bundle's files: the signed word on each, by its path in the bundle; manifest: its bytes."""

    manifest: bytes
    digest: str
    files: dict[str, TargetFile]


def manifest_target(vouched: Vouched, bundle: str, version: int) -> TargetFile:
    """Give what is signed of a bundle's manifest. Raises NotTrusted where it is not listed."""
    target = vouched.target(f"{bundle}/{version}/{MANIFEST}")
    if target is None or "sha256" not in target.hashes:
        raise NotTrusted(f"nobody has signed a bundle {bundle} {version}")
    if target.length > MOST_MANIFEST:
        raise NotTrusted(f"the manifest is said to have {target.length} bytes, too many")
    return target


def wanted(vouched: Vouched, fetcher: Fetcher, bundle: str, version: int) -> Wanted:
    """Fetch a bundle's manifest and say what belongs to it.

    Raises NotTrusted where what comes is not what was signed, BundleError where what was signed is
    no bundle, and what the fetcher raises.
    """
    target = manifest_target(vouched, bundle, version)
    digest = target.hashes["sha256"]
    content = b""
    for piece in fetcher.small(digest):
        content += piece
        if len(content) > target.length:
            raise NotTrusted(f"{MANIFEST} is longer than the {target.length} bytes signed for")
    _verify(target, MANIFEST, content)
    files = {}
    for name, (listed, size) in _listing(content).items():
        signed = vouched.target(f"{bundle}/{version}/{name}")
        if signed is None:
            raise BundleError(f"{name} is in the manifest, but nobody has signed it")
        if (signed.hashes.get("sha256"), signed.length) != (listed, size):
            raise BundleError(f"{name} is one file in the manifest, another in the signed list")
        files[name] = signed
    if sum(one.length for one in files.values()) > MOST_BYTES:
        raise BundleError(f"the bundle is larger than {MOST_BYTES} bytes")
    return Wanted(content, digest, files)


def known_files(bundles: Iterable[Path]) -> dict[str, Path]:
    """Give files of bundles on this box by their SHA-256, as their manifests say."""
    found = {}
    for folder in bundles:
        with contextlib.suppress(OSError, BundleError):
            listing = _listing((folder / MANIFEST).read_bytes())
            found.update({digest: folder / name for name, (digest, _) in listing.items()})
    return found


def missing(want: Wanted, known: dict[str, Path], downloads: Path) -> dict[str, TargetFile]:
    """Give what has to be fetched, by SHA-256, the small files first.

    What lies in downloads or in a known bundle counts where it is whole; known is left with those.
    """
    needed: dict[str, TargetFile] = {}
    for signed in sorted(want.files.values(), key=lambda one: one.length):
        digest = signed.hashes["sha256"]
        if digest in needed:
            continue
        if not _is_whole(known.get(digest), signed):
            known.pop(digest, None)
            if not _is_whole(downloads / digest, signed):
                needed[digest] = signed
    return needed


def fetch_all(
    needed: dict[str, TargetFile],
    fetcher: Fetcher,
    downloads: Path,
    progress: Callable[[int, int], None],
    copied: int = 0,
) -> None:
    """Fetch files into downloads; progress: called with bytes there and bytes wanted.

    copied: bytes that are to be copied beside; there has to be room for them too.
    Raises NotTrusted where one is not what was signed, OSError where the disk does not take it.
    """
    total = sum(one.length for one in needed.values())
    check_room(downloads, total + copied)
    done = 0

    def more(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    for digest, signed in needed.items():
        with HalfFile(downloads / digest, signed.length, BLOCK) as half:
            more(half.bytes_there)
            try:
                fetcher.file(digest, half, more)
                with (downloads / f"{digest}.part").open("rb") as file:
                    signed.verify_length_and_hashes(file)
            except (LengthOrHashMismatchError, Oversized) as error:
                half.discard()
                raise NotTrusted(
                    f"{signed.path} is not the file that was signed: {error}"
                ) from error
            except NotThere as error:
                raise NotTrusted(f"{signed.path} is not at the hub") from error
            half.finish()


def check_room(folder: Path, needed: int) -> None:
    """Raise OSError where the disk has no room for so many bytes and the ledger."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise OSError(
            28, f"the disk has {free // 1_000_000} MB free, the bundle needs "
            f"{needed // 1_000_000 + SPARE_BYTES // 1_000_000} MB"
        )  # fmt: skip


def to_copy(want: Wanted, known: dict[str, Path], apart: Path) -> int:
    """Return how many bytes `assemble` will copy since they lie apart."""
    return sum(
        signed.length
        for signed in want.files.values()
        if (source := known.get(signed.hashes["sha256"])) and source.is_relative_to(apart)
    )


def assemble(
    want: Wanted, known: dict[str, Path], downloads: Path, folder: Path, apart: Path
) -> None:
    """Put the files into a folder, linked or copied. Raises OSError.

    apart: what lies in this folder is copied, so that what rots in one is whole in the other.
    """
    (folder / MANIFEST).write_bytes(want.manifest)
    for name, signed in want.files.items():
        digest = signed.hashes["sha256"]
        source = known.get(digest, downloads / digest)
        place = folder / safe_relative(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_relative_to(apart):
            with contextlib.suppress(OSError):
                os.link(source, place, follow_symlinks=False)
                continue
        shutil.copyfile(source, place)


def clear_downloads(downloads: Path, keep: Iterable[str] = ()) -> None:
    """Remove what was fetched for other bundles. keep: SHA-256 of what is still wanted."""
    kept = set(keep)
    for path in downloads.iterdir():
        if path.name.lstrip(".").split(".")[0] not in kept:
            path.unlink(missing_ok=True)


def _is_whole(path: Path | None, signed: TargetFile) -> bool:
    try:
        return path is not None and file_digest(path) == (signed.hashes["sha256"], signed.length)
    except OSError:
        return False


def _verify(target: TargetFile, name: str, content: bytes) -> None:
    try:
        target.verify_length_and_hashes(content)
    except LengthOrHashMismatchError as error:
        raise NotTrusted(f"{name} is not the file that was signed: {error}") from error


def _listing(manifest: bytes) -> dict[str, tuple[str, int]]:
    """Read a manifest's list of files: SHA-256 and size by path. Raises BundleError."""
    try:
        files = json.loads(manifest)["files"]
        found = {
            safe_relative(name).as_posix(): (str(entry["sha256"]), int(entry["size"]))
            for name, entry in files.items()
        }
        "".join(found).encode()  # a name that no disk could hold is none
    except _NO_LISTING as error:
        raise BundleError(f"not a bundle's manifest: {error}") from error
    return found
