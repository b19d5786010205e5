"""Draw what a camera sees: its newest picture with zones and boxes, as a JPEG.

Called by the page's server for a request, never by a camera's thread. A picture is drawn once for
all viewers and kept until the camera has a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

ZONE_COLOUR = (122, 196, 120)
BOX_COLOURS = {"person": (235, 170, 90), "hand": (90, 200, 250), "product": (122, 196, 120)}
UNNAMED = {"product"}
"""There are dozens of them on a shelf: their names would hide it."""
OTHER_COLOUR = (200, 200, 200)


@dataclass(frozen=True, slots=True)
class ZoneOutline:
    """A zone's polygon, (N, 2) points in pixels of the picture."""

    name: str
    polygon: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box and what is in it; box is x1, y1, x2, y2 in pixels of the picture."""

    box: tuple[float, float, float, float]
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class CameraPicture:
    """The newest picture of a camera, (H, W, 3) uint8 BGR, with what was found in it.

    name: changes whenever the picture does; letters, digits and dashes.
    """

    name: str
    image: NDArray[np.uint8]
    zones: tuple[ZoneOutline, ...]
    boxes: tuple[DrawnBox, ...]


@dataclass(slots=True)
class PictureDesk:
    """Keeps the last drawn JPEG of each camera.

    width: pictures wider than this are scaled down before drawing.
    """

    width: int = 960
    quality: int = 78
    _drawn: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def jpeg(self, camera: str, picture: CameraPicture) -> bytes:
        """Return the picture as a JPEG, drawing it unless the last one drawn is still right."""
        with self._lock:
            kept = self._drawn.get(camera)
        if kept is not None and kept[0] == picture.name:
            return kept[1]
        data = encode(draw(picture, self.width), self.quality)
        with self._lock:
            self._drawn[camera] = (picture.name, data)
        return data


def draw(picture: CameraPicture, width: int) -> NDArray[np.uint8]:
    """Return a copy of the picture at most width pixels wide, with zones and boxes drawn on it."""
    image = picture.image
    scale = min(1.0, width / image.shape[1])
    if scale < 1.0:
        size = (width, max(1, round(image.shape[0] * scale)))
        canvas = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        canvas = image.copy()
    unit = max(1, round(canvas.shape[1] / 480))
    for zone in picture.zones:
        _outline(canvas, zone, scale, unit)
    for box in picture.boxes:
        _box(canvas, box, scale, unit)
    return canvas


def encode(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return image as JPEG bytes; quality in [0, 100]."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be encoded")
    return data.tobytes()


def _outline(canvas: NDArray[np.uint8], zone: ZoneOutline, scale: float, unit: int) -> None:
    points = np.rint(np.asarray(zone.polygon, np.float64) * scale).astype(np.int32)
    if len(points) < 3:
        return
    cv2.polylines(canvas, [points], True, (30, 40, 30), unit + 1, cv2.LINE_AA)
    cv2.polylines(canvas, [points], True, ZONE_COLOUR, unit, cv2.LINE_AA)
    left, top = int(points[:, 0].min()), int(points[:, 1].min())
    _label(canvas, zone.name, (left + 3 * unit, top + 3 * unit), ZONE_COLOUR, unit)


def _box(canvas: NDArray[np.uint8], box: DrawnBox, scale: float, unit: int) -> None:
    x1, y1, x2, y2 = (round(value * scale) for value in box.box)
    colour = BOX_COLOURS.get(box.label, OTHER_COLOUR)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, unit, cv2.LINE_AA)
    if box.label not in UNNAMED:
        _label(canvas, f"{box.label} {box.score:.2f}", (x1, y1), colour, unit)


def _label(
    canvas: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, ...], unit: int
) -> None:
    size, thickness = 0.5 * canvas.shape[1] / 640, unit
    plain = text.encode("ascii", "replace").decode()
    (width, height), below = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    x = min(max(0, at[0]), max(0, canvas.shape[1] - width - 4 * unit))
    y = min(max(0, at[1]), max(0, canvas.shape[0] - height - below - 4 * unit))
    corner = (x + width + 4 * unit, y + height + below + 2 * unit)
    cv2.rectangle(canvas, (x, y), corner, colour, cv2.FILLED)
    origin = (x + 2 * unit, y + height + unit)
    ink = (24, 28, 24)
    cv2.putText(canvas, plain, origin, cv2.FONT_HERSHEY_SIMPLEX, size, ink, thickness, cv2.LINE_AA)
