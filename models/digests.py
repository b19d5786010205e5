"""Hash files: whole, and the large ones in parts too, so that several cores can check them at once.

Files are read and not mapped: a disk that fails must be an error, not the end of the process.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

PART = 32 << 20
"""Bytes of a part, of which the last may have fewer; a file of no more has none."""

_CHUNK = 1 << 20


def file_digest(path: Path) -> tuple[str, int]:
    """Return SHA-256 in hex and size in bytes of a file that is no link. Raises OSError."""
    with _opened(path) as stream:
        return _digest(stream, None)


def part_digests(path: Path) -> list[str]:
    """Return SHA-256 in hex of each part of a file; empty for a small one. Raises OSError."""
    size = path.stat().st_size
    return [_part(path, number)[0] for number in range(_parts(size))] if size > PART else []


def checks(pool: Executor, path: Path, entry: Mapping[str, Any]) -> Callable[[], bool]:
    """Begin to compare a file with what is listed of it, and return what waits for the answer.

    entry: `size`, `sha256` and, of a large file, `parts`, by which alone it is then judged: they
    cover every byte. What waits raises OSError where the file cannot be read.
    """
    parts: Sequence[str] | None = entry.get("parts")
    size, digest = entry["size"], entry["sha256"]
    if parts is None:
        whole = pool.submit(file_digest, path)
        return lambda: whole.result() == (digest, size)
    if not parts or len(parts) != _parts(size):
        return lambda: False
    waiting = [pool.submit(_part, path, number) for number in range(len(parts))]
    return lambda: all(
        one.result() == (listed, size) for one, listed in zip(waiting, parts, strict=True)
    )


def _parts(size: int) -> int:
    return -(-size // PART)


def _part(path: Path, number: int) -> tuple[str, int]:
    """Return SHA-256 of a part, and the size of the whole file."""
    with _opened(path) as stream:
        stream.seek(number * PART)
        return _digest(stream, PART)[0], os.fstat(stream.fileno()).st_size


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with FileIO(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a plain file")
        yield stream


def _digest(stream: FileIO, most: int | None) -> tuple[str, int]:
    """Return SHA-256 and number of the bytes from here on, of no more than most."""
    digest, size = hashlib.sha256(), 0
    block = memoryview(bytearray(min(os.fstat(stream.fileno()).st_size + 1, _CHUNK)))
    while length := stream.readinto(block if most is None else block[: most - size]):
        digest.update(block[:length])
        size += length
    return digest.hexdigest(), size
