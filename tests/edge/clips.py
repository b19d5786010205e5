"""The bottle clip, changed the ways a camera or a shop may change it, and its truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events import Kind, ShelfEvent
from edge.frame import Frame
from edge.motion import MotionGate
from edge.shelf import Shelf, ShelfLimits
from edge.zones import whole_frame

FPS, WIDTH = 29.83, 640
Picture = NDArray[np.uint8]
Pictures = list[Picture]


class Seen(Protocol):
    """An event as the shelf or a replay tells it. time_s: in seconds; box: in pixels."""

    kind: Any
    time_s: Any
    box: Any


@dataclass(frozen=True, slots=True)
class Expected:
    """An event of the truth; frames of the original clip, x as a share of the width."""

    kind: Kind
    x: float
    first: int
    last: int


def truth(folder: Path) -> list[Expected]:
    """Read the eight events."""
    lines = (folder / "video" / "bottle-detection.truth.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [Expected(Kind(row["kind"]), row["x"] / WIDTH, *row["frames"]) for row in rows]


def pictures(path: Path) -> Pictures:
    """Decode a whole clip."""
    video = cv2.VideoCapture(str(path))
    found: list[Any] = []
    while True:
        there, image = video.read()
        if not there:
            return found
        found.append(image)


def mirrored(clip: Pictures, events: list[Expected]) -> tuple[Pictures, list[Expected]]:
    """Left is right."""
    there = [Expected(e.kind, 1 - e.x, e.first, e.last) for e in events]
    return [np.ascontiguousarray(image[:, ::-1]) for image in clip], there


def backwards(clip: Pictures, events: list[Expected]) -> tuple[Pictures, list[Expected]]:
    """The last frame first: picks become returns."""
    other = {Kind.PICK: Kind.RETURN, Kind.RETURN: Kind.PICK}
    end = len(clip) - 1
    there = [Expected(other[e.kind], e.x, end - e.last, end - e.first) for e in events]
    return clip[::-1], there


def each(change: Callable[[Picture, int], Any]) -> Any:
    """Make a variant that changes every picture by itself."""

    def variant(clip: Pictures, events: list[Expected]) -> tuple[Pictures, list[Expected]]:
        return [change(image, index) for index, image in enumerate(clip)], events

    return variant


def noisy(image: Picture, index: int) -> Picture:
    """Sensor noise, sigma 12."""
    noise = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(index)
    cv2.randn(noise, 0, 12)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def shaken(image: Picture, index: int) -> Picture:
    """Up to 3 pixels either way."""
    x, y = np.random.default_rng(index).integers(-3, 4, 2)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def darkened(image: Picture, _: int) -> Picture:
    """By 40 per cent."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=0.6), np.uint8)


def fading(image: Picture, index: int) -> Picture:
    """Brightness that shifts slowly, by a third either way."""
    return np.clip(image * (1 + 0.33 * np.sin(index / 190)), 0, 255).astype(np.uint8)


def reencoded(
    clip: Pictures, events: list[Expected], path: Path
) -> tuple[Pictures, list[Expected]]:
    """MPEG-4 as OpenCV writes it, from a picture of half the size: soft and blocky."""
    height, width = clip[0].shape[:2]
    size = (width // 2, height // 2)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size)
    for image in clip:
        writer.write(cv2.resize(image, size))
    writer.release()
    return [np.asarray(cv2.resize(p, (width, height)), np.uint8) for p in pictures(path)], events


def shelf_events(clip: Pictures, fps: float) -> list[ShelfEvent]:
    """What the shelf makes of a clip without any detector."""
    height, width = clip[0].shape[:2]
    gate = MotionGate(480, 8.0, 30)
    shelf = Shelf("c", [whole_frame(width, height)], ShelfLimits(), lambda image: ())
    return list(_events(gate, shelf, clip, fps))


def _events(gate: MotionGate, shelf: Shelf, clip: Pictures, fps: float) -> Iterator[ShelfEvent]:
    for index, image in enumerate(clip):
        frame = Frame(image, index / fps, "c", index)
        motion = gate.observe(image, frame.time_s)
        if index == 0:
            shelf.start(frame, motion)
        yield from shelf.observe(frame, motion)


def unmatched(events: Sequence[Seen], expected: list[Expected], width: int) -> list[str]:
    """Say what is missing and what is too many; empty where all is as expected."""
    left = list(events)
    wrong = []
    for want in expected:
        hit = next((e for e in left if _is(e, want, width)), None)
        if hit is None:
            wrong.append(f"missing {want}")
        else:
            left.remove(hit)
    return wrong + [f"too many: {e.kind} at {e.time_s:.2f} s, {e.box}" for e in left]


def _is(event: Seen, want: Expected, width: int) -> bool:
    in_time = want.first <= round(event.time_s * FPS) <= want.last
    there = event.box[0] <= want.x * width <= event.box[2]
    return event.kind == want.kind and in_time and there
