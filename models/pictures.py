"""Find and read the pictures of products: folders `<sku>/*.jpg`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


class PictureError(Exception):
    """A picture, or a folder of them, cannot be used; the message says which and why."""


def find_pictures(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the pictures of each sku under folders, in order of their names.

    A folder holds `<sku>/*.jpg`, or `<sku>.jpg` where there is one packshot each.
    Raises PictureError for a folder that is not there or holds no picture.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise PictureError(f"{folder}: no such folder of pictures")
        before = len(found)
        for path in sorted(folder.glob("*/*")) + sorted(folder.glob("*")):
            if path.suffix.lower() in ENDINGS and path.is_file():
                sku = path.stem if path.parent == folder else path.parent.name
                found.setdefault(sku, []).append(path)
        if len(found) == before and not any(folder.glob("*/*")):
            raise PictureError(f"{folder}: holds no pictures in folders named after their sku")
    return dict(sorted(found.items()))


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture as (h, w, 3) uint8 BGR. Raises PictureError."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise PictureError(f"{path}: not a picture that can be read")
    return np.asarray(picture, np.uint8)


def labelled(pictures: Mapping[str, Sequence[Path]]) -> Iterator[tuple[str, Path]]:
    """Yield every picture with its sku, in order."""
    for sku, paths in pictures.items():
        for path in paths:
            yield sku, path
