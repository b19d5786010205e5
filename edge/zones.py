"""The shelves in a camera's view, as polygons in its pixels.

Zones come from the configuration or from a `zones.json`; the pipeline checks them against the first
frame, because only then is its size known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]

ANY_CAMERA = ""
"""Where a zones file names no camera, its zones are for whichever camera is asked about."""


class ZoneError(ValueError):
    """A zone that cannot be used, or a zones file that cannot be read."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A shelf.

    polygon: three or more corners (x, y) in pixels of the source frame.
    groups: the planogram, category groups that should stand here, likeliest first; empty: any.
    """

    id: str
    polygon: tuple[Point, ...]
    groups: tuple[str, ...] = ()


def whole_frame(width: int, height: int) -> Zone:
    """Return the zone that covers a frame of width x height pixels."""
    corners = ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))
    return Zone("shelf", corners)


def polygon_of(value: object) -> tuple[Point, ...]:
    """Return the corners of a polygon written as [[x, y], ...].

    Raises ZoneError with what is wrong, without naming the zone.
    """
    if not isinstance(value, list) or not all(_is_point(point) for point in value):
        raise ZoneError("a polygon is a list of corners, [[x, y], [x, y], [x, y], ...]")
    corners = tuple((float(x), float(y)) for x, y in value)
    if len(corners) < 3:
        raise ZoneError(f"a polygon needs at least 3 corners, this one has {len(corners)}")
    if area(corners) < 1.0:
        raise ZoneError("the polygon encloses nothing: its corners lie on a line")
    return corners


def _is_point(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(math.isfinite(n) for n in value)
    )


def area(corners: tuple[Point, ...]) -> float:
    """Return the area a polygon encloses, in square pixels."""
    following = (*corners[1:], corners[0])
    twice = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, following, strict=True))
    return abs(twice) / 2


def masks(
    zones: Iterable[Zone], size: tuple[int, int], frame_width: int
) -> list[NDArray[np.uint8]]:
    """Return for each zone (h, w) uint8 of a picture of size (w, h), 255 inside.

    frame_width: of the frames the zones' corners are pixels of.
    """
    found = []
    for zone in zones:
        mask = np.zeros((size[1], size[0]), np.uint8)
        corners = np.round(np.array(zone.polygon) * size[0] / frame_width).astype(np.int32)
        found.append(np.asarray(cv2.fillPoly(mask, [corners], 255), np.uint8))
    return found


def union(found: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return where any of the masks is set."""
    mask: NDArray[np.uint8] = np.maximum.reduce(found)
    return mask


def check_inside(zones: Iterable[Zone], width: int, height: int) -> None:
    """Check that every zone lies in a frame of width x height pixels.

    Raises ZoneError naming the first zone that does not, and its corner.
    """
    for zone in zones:
        for x, y in zone.polygon:
            if not (0 <= x <= width and 0 <= y <= height):
                raise ZoneError(
                    f"zone {zone.id!r} lies outside the frame: its corner ({x:g}, {y:g}) is not "
                    f"within {width} x {height} pixels"
                )


def zones_for(zones: Mapping[str, tuple[Zone, ...]], camera: str) -> tuple[Zone, ...]:
    """Return one camera's zones from what `load_zones` gave; empty where there are none."""
    return zones.get(camera, zones.get(ANY_CAMERA, ()))


def load_zones(path: Path) -> dict[str, tuple[Zone, ...]]:
    """Read a zones file.

    Two forms: {"zones": [zone, ...]}, returned under `ANY_CAMERA`, and
    {"cameras": {camera: [zone, ...]}}, where a zone is {"id", "polygon", "groups" (optional)}.
    Raises ZoneError naming the file and the zone.
    """
    document = _read_json(path)
    if not isinstance(document, dict) or not (document.keys() & {"zones", "cameras"}):
        raise ZoneError(f'{path}: expected {{"zones": [...]}} or {{"cameras": {{...}}}}')
    if unknown := sorted(document.keys() - {"zones", "cameras"}):
        raise ZoneError(f"{path}: unknown key {unknown[0]!r}: only 'zones' and 'cameras' are known")
    cameras = document.get("cameras", {})
    if not isinstance(cameras, dict):
        raise ZoneError(f'{path}: "cameras" maps each camera to a list of zones')
    loaded = {
        camera: _zones(path, f"cameras[{camera!r}]", value) for camera, value in cameras.items()
    }
    if "zones" in document:
        loaded[ANY_CAMERA] = _zones(path, "zones", document["zones"])
    return loaded


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ZoneError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ZoneError(f"{path}: not a text file (UTF-8)") from error
    except OSError as error:
        raise ZoneError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _zones(path: Path, where: str, value: object) -> tuple[Zone, ...]:
    if not isinstance(value, list):
        raise ZoneError(f"{path}: {where} is a list of zones")
    zones = tuple(_zone(f"{path}: {where}[{index}]", entry) for index, entry in enumerate(value))
    seen: set[str] = set()
    for zone in zones:
        if zone.id in seen:
            raise ZoneError(f"{path}: {where} has two zones {zone.id!r}")
        seen.add(zone.id)
    return zones


def _zone(where: str, value: object) -> Zone:
    if not isinstance(value, dict):
        raise ZoneError(f'{where}: a zone is {{"id": ..., "polygon": [[x, y], ...]}}')
    if unknown := sorted(value.keys() - {"id", "polygon", "groups"}):
        raise ZoneError(f"{where}: unknown key {unknown[0]!r}: a zone has id, polygon and groups")
    zone_id, groups = value.get("id"), value.get("groups", [])
    if not isinstance(zone_id, str) or not zone_id:
        raise ZoneError(f"{where}: a zone needs an id, a non-empty string")
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise ZoneError(f"{where} {zone_id!r}: groups is a list of category groups' names")
    try:
        corners = polygon_of(value.get("polygon"))
    except ZoneError as error:
        raise ZoneError(f"{where} {zone_id!r}: {error}") from error
    return Zone(zone_id, corners, tuple(groups))
