"""Open and read video with OpenCV, quietly and with time-outs.

The one place that knows `cv2.VideoCapture`. Recordings and live sources are built on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.source import CaptureError, is_device, without_password

OPEN_TIMEOUT_MS = 4000
READ_TIMEOUT_MS = 3000

# OpenCV and its decoder write to stderr as they like, unless told before the first video is opened.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True, slots=True)
class Picture:
    """image: (H, W, 3) uint8 BGR. stamp_s: the source's own time in seconds, NaN for none."""

    image: NDArray[np.uint8]
    stamp_s: float


class Device(Protocol):
    """An opened source of pictures; used by one thread."""

    fps: float
    frames: int

    def read(self) -> Picture | None:
        """Return the next picture, or None at the end or when the connection is lost."""
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...


class OpenedVideo:
    """A file, stream or camera, opened with OpenCV.

    fps, frames: what the container claims, 0 where it claims nothing.
    Raises CaptureError where nothing can be opened.
    """

    def __init__(self, source: str) -> None:
        self._capture = _open(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise CaptureError(f"{without_password(source)}: cannot be opened")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def read(self) -> Picture | None:
        """Return the next picture, or None at the end or when the connection is lost."""
        try:
            there, image = self._capture.read()
        except cv2.error:
            return None
        if not there or image is None or image.size == 0:
            return None
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        return Picture(_as_bgr(image), stamp_s)

    def close(self) -> None:
        """Let go of the source."""
        self._capture.release()


def _open(source: str) -> cv2.VideoCapture:
    if is_device(source):
        capture = cv2.VideoCapture(int(source) if source.isdigit() else source, cv2.CAP_V4L2)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS),
    ]
    if "://" not in source:
        source, timeouts = str(Path(source).absolute()), []
    return cv2.VideoCapture(source.removeprefix("file://"), cv2.CAP_FFMPEG, timeouts)


def _as_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture as three channels of bytes, whatever the camera sends."""
    if image.dtype != np.uint8:
        image = np.asarray(image >> 8, dtype=np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cast("NDArray[np.uint8]", cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    if image.shape[2] == 4:
        return cast("NDArray[np.uint8]", cv2.cvtColor(image, cv2.COLOR_BGRA2BGR))
    return cast("NDArray[np.uint8]", image)
