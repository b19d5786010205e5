"""Read an HTTP camera that sends JPEG pictures one after another (multipart MJPEG).

Most network cameras and webcam servers offer this. Read here and not by OpenCV because OpenCV
stretches a picture whose size changes to the first one's, so that nobody would notice.
"""

from __future__ import annotations

import base64
import http.client
import math
import urllib.error
import urllib.request
from typing import cast
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.source import CaptureError, without_password
from edge.video_device import READ_TIMEOUT_MS, Device, OpenedVideo, Picture

LARGEST_PICTURE = 32 * 1024 * 1024
MOST_HEADER_LINES = 50
MOST_BROKEN_PICTURES = 20


def open_live(source: str) -> Device:
    """Open a live source: MJPEG over HTTP by this module, everything else with OpenCV.

    Raises CaptureError where it cannot be opened.
    """
    if not source.startswith(("http://", "https://")):
        return OpenedVideo(source)
    response = _answer(source)
    if response is None:
        return OpenedVideo(source)
    return MjpegStream(response)


def _answer(address: str) -> http.client.HTTPResponse | None:
    """Ask for a stream; None where the camera sends something else, or wants another log-in."""
    name = without_password(address)
    try:
        response = urllib.request.urlopen(request_for(address), timeout=READ_TIMEOUT_MS / 1000)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return None
        raise CaptureError(f"{name}: the camera answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise CaptureError(f"{name}: {reason_of(error.reason)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CaptureError(f"{name}: {reason_of(error)}") from error
    if response.headers.get_content_type() == "multipart/x-mixed-replace":
        return cast("http.client.HTTPResponse", response)
    response.close()
    return None


def request_for(address: str) -> urllib.request.Request:
    """Return the request, with a user and password of the address as basic authorisation."""
    parts = urlsplit(address)
    if parts.username is None:
        return urllib.request.Request(address)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    headers = {"Authorization": "Basic " + base64.b64encode(login).decode()}
    return urllib.request.Request(bare, headers=headers)


def reason_of(error: object) -> str:
    """Return what went wrong with a connection, in words without a number."""
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or "the connection failed").lower()


class MjpegStream:
    """The pictures of an open multipart answer."""

    fps = 0.0
    frames = 0

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def read(self) -> Picture | None:
        """Return the next picture, or None when the connection is lost or none comes in time."""
        for _ in range(MOST_BROKEN_PICTURES):
            try:
                data = self._part()
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                return None
            if data is None:
                return None
            image = _decoded(data)
            if image is not None:
                return Picture(image, math.nan)
        return None

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()

    def _part(self) -> bytes | None:
        """Return the next part's content, None at the end."""
        length = self._header()
        if length is None:
            return None
        if length > LARGEST_PICTURE:
            raise ValueError("not a picture")
        if length > 0:
            data = self._response.read(length)
            return data if len(data) == length else None
        return self._until_end_of_picture()

    def _header(self) -> int | None:
        """Return the next part's length, 0 where its header has none, None at the end."""
        length, seen = 0, False
        for _ in range(MOST_HEADER_LINES):
            line = self._response.readline(4096)
            if not line:
                return None
            if not line.strip():
                if seen:
                    return length
                continue
            key, colon, value = line.partition(b":")
            seen = seen or bool(colon)
            if key.strip().lower() == b"content-length":
                length = max(0, int(value))
        raise ValueError("no header")

    def _until_end_of_picture(self) -> bytes | None:
        """Read to the line that starts the next part, of a camera that gives no length."""
        data = bytearray()
        while len(data) < LARGEST_PICTURE:
            line = self._response.readline(65536)
            if not line:
                return None
            if line.startswith(b"--") and data.rstrip().endswith(b"\xff\xd9"):
                return bytes(data)
            data += line
        raise ValueError("not a picture")


def _decoded(data: bytes) -> NDArray[np.uint8] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return cast("NDArray[np.uint8] | None", image)
