from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_sync.blocks import (
    BLOCK,
    Block,
    BlockAsk,
    decode_ask,
    decode_block,
    encode_ask,
    encode_block,
    packed,
    unpack,
)
from cloud_sync.messages import MessageError

SHA = "ab" * 32


def a_block(data: bytes = b"data", codec: str = "raw", size: int = 1024) -> Block:
    return Block(file=SHA, number=3, size=size, total=5_000, codec=codec, data=data)  # type: ignore[arg-type]


@given(st.binary(max_size=2_000))
def test_what_is_packed_is_unpacked(data: bytes) -> None:
    codec, content = packed(data)
    block = decode_block(encode_block(a_block(content, codec, 2_048)))
    assert unpack(block) == data
    assert len(content) <= len(data)


def test_only_what_pays_is_compressed() -> None:
    assert packed(b"abc " * 1_000)[0] == "zlib"
    assert packed(bytes(range(256)))[0] == "raw"


def test_a_block_that_would_fill_the_memory_is_refused() -> None:
    bomb = zlib.compress(b"\0" * 50_000_000)
    with pytest.raises(MessageError, match="longer than"):
        unpack(a_block(bomb, "zlib"))
    with pytest.raises(MessageError, match="longer than"):
        unpack(a_block(b"x" * 1_025))
    with pytest.raises(MessageError, match="inflated"):
        unpack(a_block(b"no zlib", "zlib"))
    with pytest.raises(MessageError, match="too long"):
        decode_block(b"x" * 2_000_000)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for decode in (decode_block, decode_ask):
        with pytest.raises(MessageError):
            decode(payload)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_block_is_read_or_refused(place: int, byte: int) -> None:
    payload = bytearray(encode_block(a_block(*packed(b"abc" * 50)[::-1])))
    payload[place % len(payload)] = byte
    try:
        unpack(decode_block(bytes(payload)))
    except MessageError:
        return


@pytest.mark.parametrize(
    "file",
    ["", "../root.json", "metadata/../x.json", "metadata/a/b.json", "/etc/passwd", "AB" * 32,
     f"{SHA}\n", "metadata/.json", f"metadata/{'a' * 80}.json", "online/online.pem"],
)  # fmt: skip
def test_a_name_that_is_no_file_of_the_repository_cannot_be_asked_for(file: str) -> None:
    with pytest.raises(MessageError):
        decode_ask(encode_ask(BlockAsk(file=file, size=BLOCK, numbers=(0,))))


@pytest.mark.parametrize("file", [SHA, "metadata/timestamp.json", "metadata/12.root.json"])
def test_files_of_the_repository_can(file: str) -> None:
    ask = BlockAsk(file=file, size=BLOCK, numbers=(0, 7))
    assert decode_ask(encode_ask(ask)) == ask


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 10), ("size", 2**21), ("numbers", ()), ("numbers", (-1,)), ("numbers", (0,) * 257)],
)
def test_an_ask_beyond_its_bounds_is_refused(field: str, value: object) -> None:
    fields = {"file": SHA, "size": BLOCK, "numbers": (0,), field: value}
    with pytest.raises(MessageError):
        decode_ask(encode_ask(BlockAsk(**fields)))  # type: ignore[arg-type]
