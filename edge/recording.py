"""Read a recording: every frame, with the time it was recorded at.

A file that is no video is refused when it is opened, before anything has been written anywhere; one
that was cut off is processed up to the cut, and says so.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.frame import Frame
from edge.source import CaptureError, Health, State, without_password
from edge.stream_clock import StreamClock, sane_fps
from edge.video_device import OpenedVideo

SHORT_BY_FRAMES = 2
SHORT_BY_SHARE = 0.005
"""Containers count a little wrongly: fewer frames missing than this is no cut."""


class Recording:
    """Every frame of a file, in order.

    source: a path or a web address of a video file. camera: the id its frames carry.
    real_time: hand out each frame no earlier than it would come from a camera.
    Raises CaptureError where there is no video in it.
    """

    def __init__(
        self,
        source: str | Path,
        camera: str,
        *,
        real_time: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera = camera
        self._name = without_password(str(source))
        self._source = str(source)
        self._video = _open(self._source, self._name)
        self._monotonic = monotonic
        self._real_time = real_time
        self._started_s: float | None = None
        self._stopping = threading.Event()
        self._reading = threading.Lock()
        self._clock = StreamClock(self._video.fps)
        self._decoded = 0
        self._last_time_s = 0.0
        self._ahead: deque[Frame] = deque()
        self._since = time.time()
        self._ended = False
        self._cut: str | None = None
        self._size = self._look_ahead()

    @property
    def camera(self) -> str:
        """The camera's id."""
        return self._camera

    @property
    def fps(self) -> float:
        """Frames a second, as the file claims; 25 where it claims nothing sensible."""
        return sane_fps(self._video.fps)

    @property
    def frames(self) -> int | None:
        """How many frames the file claims to hold, None where it does not say."""
        return self._video.frames or None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._size

    @property
    def ended(self) -> bool:
        """Whether the last frame has been handed out."""
        return self._ended

    @property
    def cut(self) -> str | None:
        """Once ended: one line that says where the file is cut off, None where it is whole."""
        return self._cut

    @property
    def health(self) -> Health:
        """OK, or ENDED with a message where the file was cut off."""
        state = State.ENDED if self._ended else State.OK
        return Health(state, self._since, self._cut or "", self.fps, self._size)

    def __iter__(self) -> Iterator[Frame]:
        """Give every frame that is left."""
        while not self._ended:
            frame = self.read()
            if frame is not None:
                yield frame

    def read(self, timeout_s: float = 1.0) -> Frame | None:
        """Return the next frame; None at the end, or where it is not due within timeout_s."""
        with self._reading:
            if self._ended or not self._is_due(timeout_s):
                return None
            frame = self._ahead.popleft()
            self._decode()
            if not self._ahead:
                self._end(self._where_cut())
            return frame

    def stop(self) -> None:
        """End the recording here, from any thread."""
        self._stopping.set()
        with self._reading:
            if not self._ended:
                self._end(None)

    def _look_ahead(self) -> tuple[int, int]:
        """Decode the first two frames; return the size of the first."""
        self._decode()
        self._decode()
        if not self._ahead:
            self._video.close()
            raise CaptureError(f"{self._name}: no picture in it can be decoded")
        if len(self._ahead) == 1 and self._video.frames <= 1:
            self._video.close()
            raise CaptureError(f"{self._name}: a single picture, not a video")
        height, width = self._ahead[0].image.shape[:2]
        return width, height

    def _decode(self) -> None:
        picture = self._video.read()
        if picture is not None:
            self._last_time_s = self._clock.time_of(picture.stamp_s)
            frame = Frame(picture.image, self._last_time_s, self._camera, self._decoded)
            self._ahead.append(frame)
            self._decoded += 1

    def _is_due(self, timeout_s: float) -> bool:
        """Wait until the next frame is due; return whether it is."""
        if not self._real_time:
            return True
        now_s, time_s = self._monotonic(), self._ahead[0].time_s
        if self._started_s is None:
            self._started_s = now_s - time_s
        wait_s = self._started_s + time_s - now_s
        stopped = self._stopping.wait(max(0.0, min(wait_s, timeout_s)))
        return not stopped and wait_s <= timeout_s

    def _end(self, cut: str | None) -> None:
        self._ahead.clear()
        self._cut = cut
        self._ended = True
        self._since = time.time()
        self._video.close()

    def _where_cut(self) -> str | None:
        """Compare what was read with what the file claims, in frames and in time.

        Short in both means cut: files with an uneven frame rate are short in one of them only.
        """
        if _lacks_gif_trailer(self._source):
            return f"{self._name}: cut off after {self._decoded} frames"
        claimed = self._video.frames
        short = claimed - self._decoded
        length_s = claimed / self.fps
        lasted_s = self._last_time_s + 1 / self.fps
        slack = max(SHORT_BY_FRAMES, SHORT_BY_SHARE * claimed)
        if short <= slack or length_s - lasted_s <= slack / self.fps:
            return None
        return (
            f"{self._name}: cut off at {lasted_s:.1f} s: {self._decoded} of about {claimed} "
            "frames could be read"
        )


def _open(source: str, name: str) -> OpenedVideo:
    if "://" in source and not source.startswith("file://"):
        return OpenedVideo(source)
    path = Path(source.removeprefix("file://"))
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise CaptureError(f"{name}: {(error.strerror or str(error)).lower()}") from error
    if not start:
        raise CaptureError(f"{name}: the file is empty")
    try:
        return OpenedVideo(source)
    except CaptureError as error:
        raise CaptureError(f"{name}: {_why_not_video(path, start)}") from error


def _lacks_gif_trailer(source: str) -> bool:
    """Return whether a source is a GIF file that ends before its end: it claims no length."""
    path = Path(source.removeprefix("file://"))
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if not file.read(6).startswith(b"GIF8"):
            return False
        file.seek(-1, 2)
        return file.read(1) != b";"


def _why_not_video(path: Path, start: bytes) -> str:
    if start[4:8] == b"ftyp" and not _has_index(path):
        return "no video: its index is missing, so it was probably cut off while being recorded"
    return "no video, or of a kind that cannot be decoded"


def _has_index(path: Path) -> bool:
    """Return whether an MP4 file has a whole `moov` box, the list of its frames."""
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if header[4:8] == b"moov":
                return offset + length <= size
            if length < 8:
                return False
            offset += length
    return False
