"""What a file's structure says of its end, for every container and for bytes that are none."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.container import has_mp4_index, lacks_its_end


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def riff(content: bytes) -> bytes:
    return b"RIFF" + (4 + len(content)).to_bytes(4, "little") + b"AVI " + content


def segment(content: bytes, length: bytes) -> bytes:
    return b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67" + length + content


MP4 = box(b"ftyp", b"isom") + box(b"mdat", b"x" * 50) + box(b"moov", b"y" * 30)


@pytest.mark.parametrize(
    ("whole", "ends"),
    [
        (MP4, 10),
        (MP4[:12] + b"\0\0\0\x01mdat" + (66).to_bytes(8, "big") + b"x" * 50, 10),
        (riff(b"x" * 90) + riff(b"y" * 40), 10),
        (segment(b"x" * 20, b"\x94"), 10),
        (segment(b"x" * 20, b"\x01" + (20).to_bytes(7, "big")), 10),
        (b"GIF89a" + b"x" * 40 + b";", 10),
        ((b"\x47" + b"x" * 187) * 6, 10),
        ((b"time\x47" + b"x" * 187) * 6, 10),
    ],
)
def test_a_whole_file_has_its_end_and_a_shorter_one_does_not(
    tmp_path: Path, whole: bytes, ends: int
) -> None:
    path = tmp_path / "clip"
    path.write_bytes(whole)
    assert not lacks_its_end(path)
    path.write_bytes(whole[:-ends])
    assert lacks_its_end(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"letter" * 300,
        box(b"ftyp", b"isom") + b"\0\0\0\0mdat" + b"x" * 40,
        MP4 + b"\xff" * 40,
        b"RIFF\0\0\0\0AVI " + b"x" * 90,
        segment(b"x" * 20, b"\x01" + b"\xff" * 7),
        segment(b"x" * 20, b"\xff"),
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67",
    ],
)
def test_what_gives_no_length_is_taken_for_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip").write_bytes(content)
    assert not lacks_its_end(tmp_path / "clip")


def test_an_index_counts_only_where_all_of_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    for content, there in ((MP4, True), (MP4[:-1], False), (MP4[:70], False), (b"", False)):
        path.write_bytes(content)
        assert has_mp4_index(path) is there


STARTS = [
    b"",
    b"\0\0\0\x08ftyp",
    b"RIFF\x08\0\0\0AVI ",
    b"\x1a\x45\xdf\xa3\x18\x53\x80\x67",
    b"GIF8",
]


@given(st.sampled_from(STARTS), st.binary(max_size=400))
def test_no_bytes_are_too_strange(start: bytes, rest: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        path.write_bytes(start + rest)
        assert lacks_its_end(path) in {True, False}
        assert has_mp4_index(path) in {True, False}
