"""Run one camera: frames from its source through its pipeline, events to the bookkeeper.

One thread a camera, so that a camera that is dead, slow or busy holds up no other. What stops one
is kept for the page; a recording that ends is finished in good order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from typing import Protocol

from edge.detect import Detection
from edge.events import DecidedEvent
from edge.frame import Frame
from edge.source import Source
from edge.zones import Zone

log = logging.getLogger(__name__)

READ_S = 0.5
STOP_S = 5.0


class View(Protocol):
    """What a camera saw last: `edge.pipeline.CameraView`."""

    @property
    def frame(self) -> Frame | None:
        """The newest frame, None before the first."""
        ...

    @property
    def zones(self) -> Sequence[Zone]:
        """The shelves, in pixels of the frame."""
        ...

    @property
    def detections(self) -> Sequence[Detection]:
        """What the detector found last, in pixels of the frame."""
        ...

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Milliseconds a frame spends in each stage, on average."""
        ...


class Pipeline(Protocol):
    """The stages of one camera: `edge.pipeline.CameraPipeline`."""

    def feed(self, frame: Frame) -> Sequence[DecidedEvent]:
        """Look at the next frame."""
        ...

    def finish(self) -> Sequence[DecidedEvent]:
        """Decide what is still open: there are no more frames."""
        ...

    def view(self) -> View:
        """Return what it saw last; never blocks, from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a camera is. failure: what stopped it, empty while nothing has."""

    frames: int
    time_s: float
    finished: bool
    failure: str


class CameraWorker:
    """One camera's thread.

    submit: takes an event, False where the box is stopping.
    """

    def __init__(
        self, source: Source, pipeline: Pipeline, submit: Callable[[DecidedEvent], bool]
    ) -> None:
        self.source = source
        self.pipeline = pipeline
        self._submit = submit
        self._stopping = Event()
        self._progress = Progress(0, 0.0, False, "")
        self._thread = Thread(target=self._run, name=f"camera-{source.camera}", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far the camera is; safe to read from any thread."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether there will be no more events from this camera."""
        return self._progress.finished or bool(self._progress.failure)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Stop at the next frame; does not wait."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop and wait, but not for a device that hangs."""
        self._stopping.set()
        self.source.stop()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and not self.source.ended:
                frame = self.source.read(READ_S)
                if frame is not None:
                    self._look(frame)
            if not self._stopping.is_set():
                self._hand_in(self.pipeline.finish())
            self._report(finished=True)
        except Exception as error:  # the thread ends here; the page and the log say why
            log.exception("camera %s has stopped", self.source.camera)
            self._report(failure=f"{type(error).__name__}: {error}")

    def _look(self, frame: Frame) -> None:
        self._hand_in(self.pipeline.feed(frame))
        frames = self._progress.frames + 1
        self._progress = Progress(frames, frame.time_s, False, "")

    def _hand_in(self, events: Sequence[DecidedEvent]) -> None:
        for event in events:
            self._submit(event)

    def _report(self, *, finished: bool = False, failure: str = "") -> None:
        before = self._progress
        self._progress = Progress(before.frames, before.time_s, finished, failure)
