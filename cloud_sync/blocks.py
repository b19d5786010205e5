"""The blocks that files travel in: what a device asks for, and what the hub answers.

A device asks for numbered blocks of a file, as many as it has room for under way; each comes back
as a message of its own. Asks are JSON like every other message; blocks carry bytes and are
MessagePack, so that nothing is written out in letters. Ground floor: imports none of ours but
`cloud_sync.messages`.

Both are untrusted: `unpack` gives no more bytes than a block may hold, whatever a payload claims to
inflate to. What the bytes are worth is for signed metadata to say (`cloud_sync.device.vouched`).
"""

from __future__ import annotations

import zlib
from typing import Annotated, Literal

import msgspec

from cloud_sync.messages import Count, Message, MessageError, Text

BLOCK = 256 * 1024
"""Bytes of a block that we ask for; the last of a file is shorter."""

LARGEST_BLOCK = 1024 * 1024
MOST_ASKED = 256

FILE_PATTERN = r"\A(?:metadata/(?:[0-9]{1,9}\.)?[A-Za-z0-9_-]{1,60}\.json|[0-9a-f]{64})\Z"
"""A file of the metadata by its name, any other by its SHA-256."""

PAYS = 0.9
"""A block is sent compressed where that leaves less than this share of it."""

FileName = Annotated[str, msgspec.Meta(pattern=FILE_PATTERN)]
Size = Annotated[int, msgspec.Meta(ge=1024, le=LARGEST_BLOCK)]


class BlockAsk(Message, frozen=True, kw_only=True, tag="block_ask"):
    """A device wants these blocks of a file; block n starts at byte n * size."""

    file: FileName
    size: Size
    numbers: Annotated[tuple[Count, ...], msgspec.Meta(min_length=1, max_length=MOST_ASKED)]


class Block(Message, frozen=True, kw_only=True, tag="block"):
    """One block.

    total: bytes of the whole file, by the sender's word. size: the block size that was asked for.
    data: compressed where codec says so. problem: why there are no data, None where there are.
    """

    file: FileName
    number: Count
    size: Size
    total: Count
    codec: Literal["raw", "zlib"] = "raw"
    data: bytes = b""
    problem: Text | None = None


_ask_encoder = msgspec.json.Encoder()
_ask_decoder = msgspec.json.Decoder(BlockAsk)
_block_encoder = msgspec.msgpack.Encoder()
_block_decoder = msgspec.msgpack.Decoder(Block)


def encode_ask(ask: BlockAsk) -> bytes:
    """Give the bytes of an ask."""
    return _ask_encoder.encode(ask)


def decode_ask(payload: bytes) -> BlockAsk:
    """Read an ask. Raises MessageError for anything else."""
    try:
        return _ask_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MessageError(f"not an ask for blocks: {error}") from error


def encode_block(block: Block) -> bytes:
    """Give the bytes of a block."""
    return _block_encoder.encode(block)


def decode_block(payload: bytes | bytearray) -> Block:
    """Read a block, still packed. Raises MessageError for anything else."""
    if len(payload) > LARGEST_BLOCK + 4096:
        raise MessageError(f"a block's payload of {len(payload)} bytes is too long")
    try:
        return _block_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MessageError(f"not a block: {error}") from error


def packed(data: bytes) -> tuple[Literal["raw", "zlib"], bytes]:
    """Compress a block's bytes where it pays."""
    small = zlib.compress(data, 6)
    return ("zlib", small) if len(small) < PAYS * len(data) else ("raw", data)


def unpack(block: Block) -> bytes:
    """Give a block's bytes, at most `block.size`.

    Raises MessageError where there are more, or where they cannot be inflated.
    """
    data = block.data
    if block.codec == "zlib":
        inflate = zlib.decompressobj()
        try:
            data = inflate.decompress(data, block.size + 1)
        except zlib.error as error:
            raise MessageError(f"block {block.number} cannot be inflated: {error}") from error
    if len(data) > block.size:
        raise MessageError(f"block {block.number} is longer than the {block.size} bytes it may be")
    return data
