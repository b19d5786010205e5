"""Tell from a video file's own structure whether its end is missing.

Containers say how long their parts are; a file that ends inside a part was cut off. This needs no
decoding, and also notices what frame counts do not show: MPEG transport streams count no frames,
and a cut near the end hides in the inexactness of other containers' counts. Asked by
`edge.recording`; nothing in a file is believed further than its size.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

MOST_PARTS = 100_000
"""Parts looked at before a file is taken for whole; real ones have far fewer at their top level."""

_MP4_PARTS = {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"mfra", b"sidx"}
_TS_SYNC = 0x47
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Length of a packet and where in it the sync byte stands: plain, with time codes, with parity."""
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def lacks_its_end(path: Path) -> bool:
    """Return whether a file ends inside a part that its container says is longer.

    Knows MP4 and MOV, AVI, Matroska and WebM, MPEG transport streams, and GIF; says False of every
    other kind and where a stream was cut between two parts, which nothing in it tells.
    Raises OSError where the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(1024)
        if start[4:8] == b"ftyp":
            return _mp4_lacks_its_end(file, size)
        if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            return _avi_lacks_its_end(file, size)
        if start[:4] == _EBML:
            return _matroska_lacks_its_end(start, size)
        if start[:4] == b"GIF8":
            file.seek(-1, 2)
            return file.read(1) != b";"
        packet = _ts_packet(start)
        return packet is not None and size % packet != 0


def has_mp4_index(path: Path) -> bool:
    """Return whether an MP4 file has a whole `moov` box, the list of its frames.

    Raises OSError where the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for offset, kind, length in _mp4_boxes(file, size):
            if kind == b"moov":
                return offset + length <= size
    return False


def _mp4_lacks_its_end(file: BinaryIO, size: int) -> bool:
    boxes = _mp4_boxes(file, size)
    return any(offset + length > size for offset, kind, length in boxes if kind in _MP4_PARTS)


def _mp4_boxes(file: BinaryIO, size: int) -> list[tuple[int, bytes, int]]:
    """Return offset, kind and length of every box at the top level."""
    boxes: list[tuple[int, bytes, int]] = []
    offset = 0
    while offset + 8 <= size and len(boxes) < MOST_PARTS:
        file.seek(offset)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 0:  # to the end of the file
            length = size - offset
        elif length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            break
        boxes.append((offset, header[4:8], length))
        offset += length
    return boxes


def _avi_lacks_its_end(file: BinaryIO, size: int) -> bool:
    """Follow the RIFF lists; long files have several. Length 0: it was never written down."""
    offset = 0
    for _ in range(MOST_PARTS):
        file.seek(offset)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length == 0:
            return False
        offset += 8 + length
        if offset > size:
            return True
        offset += length % 2
    return False


def _matroska_lacks_its_end(start: bytes, size: int) -> bool:
    """Compare the segment's length with what there is; a live recording may not give one."""
    at = start.find(_SEGMENT)
    if at < 0 or at + 5 > len(start):
        return False
    at += len(_SEGMENT)
    width = 9 - start[at].bit_length()
    number = int.from_bytes(start[at : at + width], "big") & ((1 << 7 * width) - 1)
    unknown = (1 << 7 * width) - 1
    return width <= 8 and number != unknown and at + width + number > size


def _ts_packet(start: bytes) -> int | None:
    """Return the length of a transport stream's packets, None where the file is none."""
    for length, sync in _TS_PACKETS:
        places = range(sync, len(start), length)
        if len(places) > 2 and all(start[place] == _TS_SYNC for place in places):
            return length
    return None
