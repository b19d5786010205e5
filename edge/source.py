"""What every source of pictures promises, live or recorded, and how it says how it is.

The appliance and the page know a camera by this; `edge.capture` makes the right one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from edge.frame import Frame


class CaptureError(Exception):
    """A source that gives no pictures; the message says why and what to do, in one line."""


class State(StrEnum):
    """How a source is."""

    STARTING = "starting"
    OK = "ok"
    LOST = "lost"
    FROZEN = "frozen"
    BLACK = "black"
    RESIZED = "resized"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Health:
    """How a source is, since when, and what a person should know.

    since: when this state began, seconds since 1970.
    message: one sentence, empty while there is nothing to say.
    fps: frames a second that come in; of a recording, that it was made with.
    size: width and height of the newest picture, (0, 0) before the first.
    """

    state: State
    since: float
    message: str
    fps: float
    size: tuple[int, int]


class Source(Protocol):
    """Frames of one camera, in order, until it ends or is stopped."""

    @property
    def camera(self) -> str:
        """The camera's id."""
        ...

    @property
    def health(self) -> Health:
        """How the source is now; never blocks."""
        ...

    @property
    def ended(self) -> bool:
        """Whether there will never be another frame."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Give every frame until the source has ended."""
        ...

    def read(self, timeout_s: float = 1.0) -> Frame | None:
        """Return the next frame, or None where none came in time or the source has ended."""
        ...

    def stop(self) -> None:
        """End the source from any thread; returns within a second, whatever the device does."""
        ...


def is_device(source: str) -> bool:
    """Return whether a source is a camera at this box: "0" or "/dev/video0"."""
    return source.isdigit() or source.startswith("/dev/")


_RECORDING = re.compile(r"\.(mp4|m4v|mov|mkv|webm|avi|gif|ts|mpe?g|wmv)(\?|$)", re.IGNORECASE)


def is_recording(source: str) -> bool:
    """Return whether a source has an end: a file, or a web address that names a video file."""
    if is_device(source):
        return False
    scheme, separator, rest = source.partition("://")
    if not separator or scheme == "file":
        return True
    return scheme in ("http", "https") and _RECORDING.search(rest) is not None


def is_remote(source: str) -> bool:
    """Return whether a recording lies at a web address, and not in a file of this machine."""
    return source.startswith(("http://", "https://"))


def without_password(source: str) -> str:
    """Return a source as a person may see it: `rtsp://user:***@host/...`."""
    return re.sub(r"(://[^/@:]*:)[^/@]*@", r"\1***@", source)
