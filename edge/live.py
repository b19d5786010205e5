"""Follow a live camera: always its newest picture, whatever happens to it.

A connection (`edge.live_link`) reads on a thread of its own into a slot that holds one frame; an
older frame that nobody fetched is dropped. A second thread watches: it says within seconds that the
picture is lost, frozen, black or of another size, and connects anew, waiting longer each time. No
caller ever waits for the device.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame
from edge.live_link import Link
from edge.mjpeg_stream import open_live
from edge.picture_watch import OK, PictureWatch, Verdict
from edge.source import Health, State, without_password
from edge.stream_clock import LiveClock
from edge.video_device import Device, Picture

LOOK_EVERY_S = 0.2
MOST_STUCK_LINKS = 3
SAME_SHAPE = 0.02


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a live source waits before it says or does something, in seconds.

    stale_s: without a picture it is lost. frozen_s, black_s: see `PictureWatch`.
    stuck_s: a connection that delivers nothing for so long is replaced.
    first_retry_s, longest_retry_s: the wait before connecting anew doubles from one to the other.
    longest_doubt_s: the same for a connection that works but shows a bad picture.
    steady_s: after so long without trouble the waits start from the first again.
    """

    stale_s: float = 3.0
    frozen_s: float = 3.5
    black_s: float = 2.5
    stuck_s: float = 12.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 15.0
    longest_doubt_s: float = 120.0
    steady_s: float = 10.0


class LiveSource:
    """The newest frame of a camera.

    source: "0", "/dev/video0", rtsp://..., http(s)://... camera: the id its frames carry.
    Starts at once; `stop()` ends it.
    """

    def __init__(
        self,
        source: str,
        camera: str,
        *,
        open_device: Callable[[str], Device] = open_live,
        patience: Patience = Patience(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._camera = camera
        self._open_device = open_device
        self._patience = patience
        self._monotonic = monotonic
        self._started_s = monotonic()
        self._clock = LiveClock()
        self._watch = PictureWatch(patience.frozen_s, patience.black_s)
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._sequence = 0
        self._arrivals: deque[float] = deque(maxlen=60)
        self._verdict = OK
        self._failure: str | None = None
        self._link: Link | None = None
        self._stuck: list[Link] = []
        self._retry_s = patience.first_retry_s
        self._stopping = threading.Event()
        self._said = Verdict(State.STARTING, f"connecting to {without_password(source)}")
        self._said_since = time.time()
        self._well_since_s: float | None = None
        self._supervisor = threading.Thread(
            target=self._supervise, name=f"capture-{camera}", daemon=True
        )
        self._supervisor.start()

    @property
    def camera(self) -> str:
        """The camera's id."""
        return self._camera

    @property
    def ended(self) -> bool:
        """Whether the source was stopped; it never ends by itself."""
        return self._stopping.is_set()

    @property
    def health(self) -> Health:
        """How the camera is now."""
        with self._changed:
            self._judge()
            size = self._watch.size or (0, 0)
            return Health(self._said.state, self._said_since, self._said.message, self._fps(), size)

    def __iter__(self) -> Iterator[Frame]:
        """Give the newest frame each time one is asked for, until the source is stopped."""
        while not self.ended:
            frame = self.read()
            if frame is not None:
                yield frame

    def read(self, timeout_s: float = 1.0) -> Frame | None:
        """Return the newest frame that was not read yet; None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self.ended, timeout_s)
            frame, self._slot = self._slot, None
            return None if self.ended else frame

    def stop(self) -> None:
        """End the source; returns within a second, also where the device blocks."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._supervisor.join(0.5)
        link = self._link
        if link is not None:
            link.abandon()
            link.over.wait(0.4)

    def _supervise(self) -> None:
        """Keep a connection, on the supervising thread."""
        while not self._stopping.is_set():
            self._stuck = [link for link in self._stuck if not link.over.is_set()]
            if len(self._stuck) < MOST_STUCK_LINKS:
                link = self._connect()
                failed = self._follow(link)
                link.abandon()
                self._stuck.append(link)
                if not failed:
                    continue
            self._stopping.wait(self._next_wait_s())

    def _connect(self) -> Link:
        name = f"capture-{self._camera}-link"
        link = Link(name, lambda: self._open_device(self._source), self._arrived)
        with self._changed:
            self._link = link
            self._clock.reconnected()
        link.start()
        return link

    def _follow(self, link: Link) -> bool:
        """Watch a connection until another is needed; return whether it failed to deliver."""
        connected_s = self._monotonic()
        while not link.over.wait(LOOK_EVERY_S):
            if self._stopping.is_set():
                return False
            with self._changed:
                self._judge()
                now_s = self._monotonic()
                last_s = max(connected_s, self._arrivals[-1] if self._arrivals else 0.0)
                if now_s - last_s > self._patience.stuck_s:
                    self._failed("the device does not answer")
                    return True
                if self._is_doubtful() and now_s - connected_s > self._retry_s:
                    self._retry_s = min(self._retry_s * 2, self._patience.longest_doubt_s)
                    return False
        with self._changed:
            self._failed(link.failure or "the connection broke")
        return True

    def _is_doubtful(self) -> bool:
        return self._said.state in (State.FROZEN, State.BLACK, State.RESIZED)

    def _next_wait_s(self) -> float:
        wait_s = min(self._retry_s, self._patience.longest_retry_s)
        self._retry_s = min(wait_s * 2, self._patience.longest_retry_s)
        return wait_s

    def _failed(self, why: str) -> None:
        name = without_password(self._source)
        self._failure = why if why.startswith(name) else f"{name}: {why}"
        self._watch.interrupted()
        self._arrivals.clear()
        self._judge()

    def _arrived(self, link: Link, picture: Picture) -> None:
        """Take a picture in, on the connection's thread."""
        with self._changed:
            if link is not self._link or self._stopping.is_set():
                return
            now_s = self._monotonic()
            self._arrivals.append(now_s)
            self._failure = None
            self._verdict = self._watch.look(picture.image, now_s)
            self._judge()
            stamp_s = picture.stamp_s if self._source.startswith("rtsp") else None
            time_s = self._clock.time_of(now_s - self._started_s, stamp_s)
            image = _fitted(picture.image, self._watch.size)
            if image is not None:
                self._slot = Frame(image, time_s, self._camera, self._sequence)
                self._changed.notify_all()
            self._sequence += 1

    def _judge(self) -> None:
        """Decide how the camera is; with the lock held."""
        now_s = self._monotonic()
        verdict = self._state_now(now_s)
        if verdict.state != self._said.state:
            self._said_since = time.time()
        self._said = verdict
        if verdict.state is not State.OK:
            self._well_since_s = None
        elif self._well_since_s is None:
            self._well_since_s = now_s
        elif now_s - self._well_since_s > self._patience.steady_s:
            self._retry_s = self._patience.first_retry_s

    def _state_now(self, now_s: float) -> Verdict:
        if self._stopping.is_set():
            return Verdict(State.ENDED, "")
        if self._failure is not None:
            return Verdict(State.LOST, self._failure)
        last_s = self._arrivals[-1] if self._arrivals else self._started_s
        if now_s - last_s > self._patience.stale_s:
            name = without_password(self._source)
            return Verdict(State.LOST, f"{name}: no picture comes: check its cable and its network")
        return self._verdict if self._arrivals else self._said

    def _fps(self) -> float:
        """Return the frames a second of the last seconds; with the lock held."""
        if len(self._arrivals) < 2 or self._said.state is State.LOST:
            return 0.0
        return (len(self._arrivals) - 1) / max(1e-3, self._arrivals[-1] - self._arrivals[0])


def _fitted(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """Return a picture at the size the zones were drawn on, None where it has another shape."""
    width, height = image.shape[1], image.shape[0]
    if size is None or size == (width, height):
        return image
    if abs(width / height - size[0] / size[1]) > SAME_SHAPE * size[0] / size[1]:
        return None
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
