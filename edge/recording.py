"""Read a recording: every frame, with the time it was recorded at.

A file that is no video is refused when it is opened, before anything has been written anywhere; one
that was cut off is processed up to the cut, and says so. One at a web address is fetched first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.container import has_mp4_index, lacks_its_end
from edge.fetch import fetch
from edge.frame import Frame
from edge.source import CaptureError, Health, State, is_remote, without_password
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
        self._copy = fetch(str(source)) if is_remote(str(source)) else None
        self._file = _file_of(str(source)) if self._copy is None else self._copy.file
        try:
            self._video = _open(self._file, self._name)
            self._clock = StreamClock(self._video.fps)
            self._decoded = 0
            self._last_time_s = 0.0
            self._ahead: deque[Frame] = deque()
            self._size = self._look_ahead()
        except CaptureError:
            self._forget_copy()
            raise
        self._monotonic = monotonic
        self._real_time = real_time
        self._started_s: float | None = None
        self._stopping = threading.Event()
        self._reading = threading.Lock()
        self._since = time.time()
        self._ended = False
        self._cut: str | None = None

    @property
    def camera(self) -> str:
        """The camera's id."""
        return self._camera

    @property
    def file(self) -> Path:
        """Where the recording lies on this machine; of a web address, a copy until it has ended."""
        return self._file

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
        self._forget_copy()

    def _forget_copy(self) -> None:
        if self._copy is not None:
            self._copy.remove()

    def _where_cut(self) -> str | None:
        """Compare what was read with what the file claims, in frames and in time, and in bytes.

        Short in frames and time means cut: files with an uneven frame rate are short in one only.
        """
        claimed = self._video.frames
        short = claimed - self._decoded
        length_s = claimed / self.fps
        lasted_s = self._last_time_s + 1 / self.fps
        slack = max(SHORT_BY_FRAMES, SHORT_BY_SHARE * claimed)
        where = f"{self._name}: cut off at {lasted_s:.1f} s"
        if short > slack and length_s - lasted_s > slack / self.fps:
            return f"{where}: {self._decoded} of about {claimed} frames could be read"
        if self._copy is not None and self._copy.cut:
            return f"{where}: {self._copy.size} of {self._copy.promised} bytes came"
        if _is_cut(self._file):
            return f"{where}: the end of the file is missing, {self._decoded} frames could be read"
        return None


def _file_of(source: str) -> Path:
    return Path(source.removeprefix("file://"))


def _open(path: Path, name: str) -> OpenedVideo:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise CaptureError(f"{name}: {(error.strerror or str(error)).lower()}") from error
    if not start:
        raise CaptureError(f"{name}: the file is empty")
    try:
        return OpenedVideo(str(path))
    except CaptureError as error:
        raise CaptureError(f"{name}: {_why_not_video(path, start)}") from error


def _is_cut(path: Path) -> bool:
    """Return whether the file's end is missing; of one that was removed meanwhile, nobody knows."""
    try:
        return lacks_its_end(path)
    except OSError:
        return False


def _why_not_video(path: Path, start: bytes) -> str:
    if start[4:8] == b"ftyp" and not has_mp4_index(path):
        return (
            "cut off: its index is missing, which stands at the end of this file, and without it "
            "no frame can be found; copy or record it again"
        )
    return "no video, or of a kind that cannot be decoded"
