"""Wire the stages of one camera: a frame in, decided events out.

Reads like the picture in the design: motion, detect, track, shelf, embed, gate. While nothing moves
and nothing waits, only the motion stage runs. Called by the appliance, one pipeline a camera, and
by `shelfgate replay`. `feed` and `view` may be called from different threads.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.buffers import keep_buffers
from edge.config import CameraSettings, Config
from edge.detect import Detection, Detector, load_detector
from edge.embed import Recogniser
from edge.events import DecidedEvent, ShelfEvent
from edge.frame import Frame
from edge.gate import Decision
from edge.motion import Motion, MotionGate
from edge.shelf import Shelf, ShelfLimits
from edge.source import is_recording
from edge.stages import CameraView, StageTimes
from edge.zones import Zone, check_inside, masks, union, whole_frame
from models.bundle import Bundle

if TYPE_CHECKING:
    from edge.track import Tracker

SHOWN_S = 0.5


class Decider(Protocol):
    """What the pipeline asks about crops; `edge.embed.Recogniser` is one."""

    def decide(self, crops: Sequence[NDArray[np.uint8]], groups: Sequence[str] = ()) -> Decision:
        """Say which product crops, (h, w, 3) uint8 BGR, of one item show."""
        ...


@dataclass(frozen=True, slots=True)
class Sensed:
    """A frame and its motion.

    begins: the zones, where its size is new: all starts anew.
    turn: whether it is the detector's turn to look.
    looking: what it finds, where it has begun to look.
    """

    frame: Frame
    motion: Motion
    begins: tuple[Zone, ...] | None
    turn: bool
    looking: Future[list[Detection]] | None


class CameraPipeline:
    """One camera's stages.

    stream: what the event ids start from; the same recording must always have the same.
    zones: empty: the whole frame is one zone. detector: None: before/after evidence alone.
    interval_s: how often, in stream time, the detector looks while something moves.
    viewed: whether anybody may ask for the `view`. Where nobody does, the detector looks only at
    the pictures the shelf asks it about; the events are the same.
    """

    def __init__(
        self,
        *,
        camera: str,
        stream: str,
        zones: Sequence[Zone],
        gate: MotionGate,
        limits: ShelfLimits,
        detector: Detector | None,
        interval_s: float,
        recogniser: Decider,
        viewed: bool = True,
    ) -> None:
        self._camera = camera
        self._stream = stream
        self._zones = self._shown = tuple(zones)
        self._gate = gate
        self._limits = limits
        self._detector = detector
        self._interval_s = interval_s
        self._recogniser = recogniser
        self._viewed = viewed
        self._tracker = _a_tracker() if viewed else None
        self._shelf: Shelf | None = None
        self._size = (0, 0)
        self._looked: tuple[NDArray[np.uint8], list[Detection]] | None = None
        self._looked_s = self._due_s = -1e9
        self._view = CameraView(None, self._zones, (), {})
        self.times = StageTimes()
        # A thread of its own: the network computes while the stages before and after it do.
        self._looks = ThreadPoolExecutor(1, thread_name_prefix=f"detect-{camera}")

    def feed(self, frame: Frame) -> list[DecidedEvent]:
        """Take in the next frame; return the events that are certain by now.

        Raises ZoneError where a zone lies outside the first frame.
        """
        return self.take(self.sense(frame))

    def sense(self, frame: Frame) -> Sensed:
        """Do what needs this frame and the one before alone: look for motion, begin to detect.

        `take` has the rest; where the two run in two threads, each gets every frame, in order.
        Raises ZoneError where a zone lies outside the first frame.
        """
        started = time.perf_counter()
        begins = None
        height, width = frame.image.shape[:2]
        if self._size != (width, height):
            begins = self._zones or (whole_frame(width, height),)
            check_inside(begins, width, height)
            self._size = (width, height)
            self._gate.watch(union(masks(begins, self._gate.small_size(frame.image), width)))
        motion = self._gate.observe(frame.image, frame.time_s)
        self.times.add("motion", time.perf_counter() - started)
        looking = None
        turn = motion.active and frame.time_s >= self._due_s
        if turn:
            self._due_s = frame.time_s + self._interval_s
            if self._viewed and self._detector is not None:
                looking = self._looks.submit(self._detect, self._detector, frame.image)
        return Sensed(frame, motion, begins, turn, looking)

    def take(self, sensed: Sensed) -> list[DecidedEvent]:
        """Take in a frame that was sensed; return the events that are certain by now."""
        frame, motion = sensed.frame, sensed.motion
        if sensed.begins is not None:
            self._shown = sensed.begins
            self._shelf = Shelf(self._camera, self._shown, self._limits, self._look)
            self._shelf.start(frame, motion)
        shelf = self._shelf
        assert shelf is not None, "the first frame that is sensed begins"
        busy = motion.active or shelf.unsettled
        if sensed.turn:
            # Forgotten in its turn, looked at anew or not, so that the events are the same.
            self._looked = None
        if sensed.looking is not None:
            self._looked_s = frame.time_s
            self._looked = (frame.image, sensed.looking.result())
        started = time.perf_counter()
        events = shelf.observe(frame, motion)
        if busy:
            self.times.add("shelf", time.perf_counter() - started)
        decided = [self._decide(event) for event in events]
        self._view = self._seen(frame, motion.active)
        return decided

    def finish(self) -> list[DecidedEvent]:
        """Say that the stream has ended: what is not settled by now is not an event."""
        return []

    def view(self) -> CameraView:
        """Return what is seen now; never blocks."""
        return self._view

    def _look(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Detect in a picture, once per picture."""
        if self._detector is None:
            return []
        if self._looked is not None and self._looked[0] is image:
            return self._looked[1]
        found = self._looks.submit(self._detect, self._detector, image).result()
        self._looked = (image, found)
        return found

    def _detect(self, detector: Detector, image: NDArray[np.uint8]) -> list[Detection]:
        started = time.perf_counter()
        found = detector.detect(image)
        self.times.add("detect", time.perf_counter() - started)
        return found

    def _decide(self, event: ShelfEvent) -> DecidedEvent:
        zone = next(zone for zone in self._shown if zone.id == event.zone)
        started = time.perf_counter()
        decision = self._recogniser.decide(event.crops, zone.groups)
        self.times.add("recognise", time.perf_counter() - started)
        return DecidedEvent(self._event_id(event), event, decision)

    def _event_id(self, event: ShelfEvent) -> str:
        box = ",".join(str(round(value)) for value in event.box)
        facts = f"{self._stream}|{event.zone}|{event.kind}|{event.time_s:.3f}|{box}"
        return f"{self._camera}-{hashlib.sha256(facts.encode()).hexdigest()[:24]}"

    def _seen(self, frame: Frame, active: bool) -> CameraView:
        found: Sequence[Detection] = ()
        looked = self._looked if self._looked_s == frame.time_s else None
        if self._tracker is not None and looked is not None:
            tracks = self._tracker.update(looked[1], frame.time_s)
            found = [Detection(track.box, track.score, track.label) for track in tracks]
        elif active or frame.time_s - self._looked_s < SHOWN_S:
            found = self._view.detections
        return CameraView(frame, self._shown, found, self.times.means())


def _a_tracker() -> Tracker:
    """Make what follows detections for a view.

    Loaded only where there is one: it takes longer than all else that a replay loads.
    """
    from edge.track import Tracker

    return Tracker()


def stream_identity(source: str) -> str:
    """Return what a source's event ids start from: a recording's content, else a new name."""
    if not is_recording(source):
        return uuid.uuid4().hex
    digest = hashlib.sha256()
    with Path(source).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def build(
    config: Config,
    camera: CameraSettings,
    bundle: Bundle,
    recogniser: Decider | None = None,
    *,
    viewed: bool = True,
) -> CameraPipeline:
    """Make a camera's pipeline as the configuration says.

    recogniser: one that is shared with other cameras; None makes one from the bundle.
    viewed: whether anybody may ask what is seen now.
    Raises DetectorError or RuntimeUnavailable where a network cannot be opened, OSError where a
    recording cannot be read.
    """
    keep_buffers()
    detector = None
    if config.detector.enabled:
        detector = load_detector(
            config.detector.network,
            threads=1,
            min_score=config.detector.min_score,
            runtime=config.detector.runtime,
        )
    if recogniser is None:
        recogniser = Recogniser(bundle, runtime=config.gate.runtime)
    return CameraPipeline(
        camera=camera.id,
        stream=stream_identity(camera.source),
        zones=camera.zones,
        gate=MotionGate(config.motion.width, config.motion.sensitivity, config.motion.min_pixels),
        limits=ShelfLimits(
            settle_s=config.shelf.settle_s,
            sensitivity=config.shelf.sensitivity,
            min_item=config.shelf.min_item,
            max_item=config.shelf.max_item,
        ),
        detector=detector,
        interval_s=config.detector.interval_s,
        recogniser=recogniser,
        viewed=viewed,
    )
