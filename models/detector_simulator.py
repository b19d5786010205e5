"""Read what `shelfgate simulate` wrote: clips and the truth of their events.

The truth knows the box of an article when it leaves or arrives, not every box of every frame. So a
simulated clip gives articles to train with, and tells how many of the boxes it knows are found.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2

from models.detector_labels import Labelled, MaterialError, Picture, frames

BEFORE_PICK_S, AFTER_RETURN_S = 1.2, 1.5
"""How far from its event an article stands undisturbed, as a rule."""


def known_boxes(folder: Path) -> Iterator[tuple[Picture, list[Labelled]]]:
    """Yield frames of the clips in folder with the articles the truth knows in them.

    Raises MaterialError if folder holds no truth or a clip is missing.
    """
    path = folder / "truth.jsonl"
    try:
        events = [
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line
        ]
    except (OSError, ValueError) as error:
        raise MaterialError(f"{path}: cannot be read: {error}") from error
    by_camera: dict[str, dict[int, list[Labelled]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        shift = -BEFORE_PICK_S if event["kind"] == "pick" else AFTER_RETURN_S
        number = round((event["time_s"] + shift) * _rate(folder / f"{event['camera']}.mp4"))
        x1, y1, x2, y2 = event["box"]
        by_camera[event["camera"]][number].append(Labelled("product", (x1, y1, x2, y2)))
    for camera, wanted in sorted(by_camera.items()):
        for number, frame in frames(folder / f"{camera}.mp4"):
            if number in wanted:
                yield frame, wanted[number]


def goods_at_events(folder: Path) -> Iterator[Picture]:
    """Yield the articles the truth knows, cut out as rectangles. Raises MaterialError."""
    for frame, boxes in known_boxes(folder):
        for each in boxes:
            x1, y1, x2, y2 = (max(0, round(value)) for value in each.box)
            if x2 - x1 >= 16 and y2 - y1 >= 16:
                yield frame[y1:y2, x1:x2].copy()


def _rate(clip: Path) -> float:
    rate = float(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FPS))
    if not rate > 0:
        raise MaterialError(f"{clip}: cannot be read as a clip")
    return rate
