"""Keep the pictures of an event, so that a person can see what the box saw.

A file is complete under its name or not there at all, and is on the disk before the event that
names it is booked. Where the disk is nearly full nothing is written: the ledger needs the rest.
Used by the bookkeeper.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events import ShelfEvent

CROPS_KEPT = 3
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,99}")
MEGABYTE = 1_000_000


class EvidenceRefused(Exception):
    """The pictures were not kept; the message says why."""


class EvidenceFolder:
    """One folder an event under a root folder, made when it is needed.

    min_free_mb: with less than this free, nothing is written.
    """

    def __init__(self, root: Path, min_free_mb: int) -> None:
        self._root = root
        self._min_free = min_free_mb * MEGABYTE

    def keep(self, event_id: str, event: ShelfEvent) -> tuple[str, ...]:
        """Write the event's pictures; return their names under the root, crops first.

        Writing the same event again gives the same names. Raises EvidenceRefused.
        """
        pictures = {f"crop-{i}": crop for i, crop in enumerate(event.crops[:CROPS_KEPT])}
        pictures |= {"before": event.before, "after": event.after}
        folder = folder_name(event_id)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._root).free < self._min_free:
                raise EvidenceRefused(
                    f"less than {self._min_free // MEGABYTE} MB free in {self._root}: "
                    "pictures of events are not kept"
                )
            (self._root / folder).mkdir(exist_ok=True)
            for name, image in pictures.items():
                _write(self._root / folder / f"{name}.jpg", _jpeg(image))
            _settle_on_disk(self._root / folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise EvidenceRefused(f"pictures of events are not kept: {reason}") from error
        return tuple(f"{folder}/{name}.jpg" for name in pictures)

    def file(self, folder: str, name: str) -> Path | None:
        """Return the file of one picture, None where there is none or the name leads elsewhere."""
        if not PLAIN.fullmatch(folder) or not PLAIN.fullmatch(name):
            return None
        path = self._root / folder / name
        return path if path.is_file() and not path.is_symlink() else None


def folder_name(event_id: str) -> str:
    """Return a name for an event's folder: the id itself where that is a plain file name."""
    if PLAIN.fullmatch(event_id):
        return event_id
    return "event-" + hashlib.sha256(event_id.encode()).hexdigest()[:32]


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise EvidenceRefused(f"a picture of shape {image.shape} cannot be written")
    return data.tobytes()


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _settle_on_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
