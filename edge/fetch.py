"""Bring a recording that lies at a web address to this machine.

A recording is read from a file of one's own: its content names its events, a decoder needs to jump
about in it (many files have their index at the end), and no slow network decides how it is seen.
Used by `edge.recording`, which removes the file when it is done with it.
"""

from __future__ import annotations

import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from edge.mjpeg_stream import reason_of, request_for
from edge.source import CaptureError, without_password

ANSWER_S = 10.0
LARGEST = 8 * 1024**3
ROOM_LEFT = 200 * 1024**2
"""Bytes that a download leaves free on the disk."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A recording's copy, in a temporary folder of its own.

    promised: bytes that the server said it would send, None where it did not say. size: those it
    sent; fewer where the connection broke.
    """

    folder: tempfile.TemporaryDirectory[str]
    file: Path
    size: int
    promised: int | None

    @property
    def cut(self) -> bool:
        """Whether the connection broke before the end."""
        return self.promised is not None and self.size < self.promised

    def remove(self) -> None:
        """Remove the copy; again does no harm."""
        self.folder.cleanup()


def fetch(address: str) -> Fetched:
    """Copy what lies at an http(s) address into a temporary folder.

    A user and a password in the address are sent as basic authorisation.
    Raises CaptureError where there is nothing, or no room for it; then nothing is left here.
    """
    name = without_password(address)
    folder = tempfile.TemporaryDirectory(prefix="shelfgate-clip-")
    try:
        suffix = Path(unquote(urlsplit(address).path)).suffix[:8]
        file = Path(folder.name) / f"clip{suffix}"
        with urllib.request.urlopen(request_for(address), timeout=ANSWER_S) as response:
            promised = _length(response)
            with file.open("wb") as copy:
                size = _copy(response, copy, promised or 0, name)
    except BaseException as error:
        folder.cleanup()
        if isinstance(error, CaptureError):
            raise
        if isinstance(error, (OSError, http.client.HTTPException, ValueError)):
            raise CaptureError(f"{name}: {_why_not(error)}") from error
        raise
    return Fetched(folder, file, size, promised)


def _why_not(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    return reason_of(error.reason if isinstance(error, urllib.error.URLError) else error)


def _copy(response: http.client.HTTPResponse, copy: BinaryIO, promised: int, name: str) -> int:
    """Copy to the end, or to where the connection breaks; return how many bytes came."""
    size = 0
    room = shutil.disk_usage(tempfile.gettempdir()).free - ROOM_LEFT
    if promised > min(room, LARGEST):
        raise CaptureError(f"{name}: no room for it in {tempfile.gettempdir()}: {_mb(promised)}")
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException):
            if size == 0:
                raise
            return size
        if not chunk:
            return size
        size += len(chunk)
        if size > min(room, LARGEST):
            raise CaptureError(
                f"{name}: no room for it in {tempfile.gettempdir()}: it has no end within "
                f"{_mb(size)}"
            )
        copy.write(chunk)


def _length(response: http.client.HTTPResponse) -> int | None:
    said = response.headers.get("content-length", "")
    return int(said) if said.isdigit() else None


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
