"""Half a file on the disk: the blocks that are there, and which they are.

    NAME.part   the blocks, each at its place
    NAME.have   which of them are known to be on the disk

Blocks are written as they come; now and then they are brought onto the disk, and only then does
`NAME.have` speak of them. After a power cut the others are asked for again. What the whole is worth
is for whoever knows its hash to say.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from types import TracebackType

from cloud_sync.device.slots import write_whole

SYNC_EVERY_S = 2.0
HEAD = struct.Struct("<QI")


class HalfFile:
    """A file of a known length that is being put together; a context manager that closes it.

    path: where the whole will be; length, block: bytes of it and of a block.
    Raises OSError here and in every method where the disk does not take it.
    """

    def __init__(self, path: Path, length: int, block: int) -> None:
        self.path, self.length, self._block = path, length, block
        self._part = path.with_name(f"{path.name}.part")
        self._have = path.with_name(f"{path.name}.have")
        self.blocks = -(-length // block)
        if self._part.is_symlink():
            self._part.unlink()  # or the blocks would be written over what it leads to
        self._there = self._known()
        self._handle = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.ftruncate(self._handle, length)
        self._synced_at = time.monotonic()
        self._is_dirty = False

    def __enter__(self) -> HalfFile:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it, remembering what is there where the disk still takes it."""
        try:
            if self._is_dirty and not isinstance(error, OSError):
                self.sync()
        finally:
            os.close(self._handle)

    @property
    def missing(self) -> list[int]:
        """The numbers of the blocks that are not there, in order."""
        return [number for number in range(self.blocks) if not self._there[number]]

    def has(self, number: int) -> bool:
        """Say whether a block is there."""
        return bool(self._there[number])

    @property
    def bytes_there(self) -> int:
        """How much of the file is there."""
        return sum(self.size_of(number) for number in range(self.blocks) if self._there[number])

    def size_of(self, number: int) -> int:
        """Give the bytes of a block; the last one's are fewer."""
        return min(self._block, self.length - number * self._block)

    def put(self, number: int, data: bytes) -> bool:
        """Write a block; False where it is none of this file's or there already."""
        if not 0 <= number < self.blocks or self._there[number]:
            return False
        if len(data) != self.size_of(number):
            return False
        os.pwrite(self._handle, data, number * self._block)
        self._there[number] = 1
        self._is_dirty = True
        if time.monotonic() - self._synced_at > SYNC_EVERY_S:
            self.sync()
        return True

    def sync(self) -> None:
        """Bring the blocks onto the disk, then the word of them."""
        os.fdatasync(self._handle)
        write_whole(self._have, HEAD.pack(self.length, self._block) + bytes(self._there))
        self._synced_at, self._is_dirty = time.monotonic(), False

    def finish(self) -> Path:
        """Give the whole file its name; its bytes are on the disk."""
        os.fsync(self._handle)
        self._part.replace(self.path)
        self._have.unlink(missing_ok=True)
        self._is_dirty = False
        return self.path

    def discard(self) -> None:
        """Throw everything away: what came is not what was wanted."""
        self._part.unlink(missing_ok=True)
        self._have.unlink(missing_ok=True)
        self._is_dirty = False

    def _known(self) -> bytearray:
        try:
            content = self._have.read_bytes()
            is_ours = self._part.stat().st_size == self.length
        except OSError:
            return bytearray(self.blocks)
        if is_ours and content[: HEAD.size] == HEAD.pack(self.length, self._block):
            there = bytearray(content[HEAD.size :])
            if len(there) == self.blocks:
                return there
        return bytearray(self.blocks)
