"""Make the pictures the detector is trained with, and those it is judged by.

From real clips: frames labelled by YOLOX-Nano (people, bottles) and the palm detector (hands). From
packshots and photos of goods, and from hands cut off the still background of a clip: composed
pictures whose boxes are exact. The later part of each clip, the articles whose role is `novel` and
hands cut from that later part are kept apart and never trained with.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from models.detection_boxes import overlap
from models.detector_cutouts import Cutout, from_moving_hand, from_packshot, from_rectangle
from models.detector_labels import CLASSES, Labelled, MaterialError, Picture, frames, write
from models.detector_scenes import Ground, Stock, compose
from models.detector_simulator import goods_at_events
from models.detector_teachers import GoodsAndPeopleTeacher, PalmTeacher

BOTTLES, PEOPLE, AISLE = (
    "bottle-detection.mp4",
    "one-by-one-person-detection.mp4",
    "store-aisle-detection.gif",
)
CHANGED = 28
"""Difference in grey levels from a still background that counts as something being there."""


@dataclass(slots=True)
class Part:
    """One half of the material, the trained or the kept one, while it is being made."""

    frames: list[tuple[str, Picture, list[Labelled]]] = field(default_factory=list)
    hands: list[Cutout] = field(default_factory=list)
    grounds: list[Ground] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def make(
    data: Path,
    teacher: Path,
    out: Path,
    *,
    composites: int = 900,
    simulated: Sequence[Path] = (),
    seed: int = 1,
    progress: Callable[[str], None] = lambda said: None,
) -> dict[str, object]:
    """Make all of it under out: train/, val/, kept/<set>/ and data.yaml for ultralytics.

    data: the folder with video/, grocery/ and weights/. teacher: folder of the YOLOX-Nano detector.
    simulated: folders that `shelfgate simulate` wrote. Returns what material.json holds: counts of
    pictures and boxes by set, and of frames left out because their labels could not be trusted.
    Raises MaterialError or DetectorError.
    """
    random = np.random.default_rng(seed)
    goods_and_people = GoodsAndPeopleTeacher(teacher)
    palms = PalmTeacher(data / "weights/palm_detection_full.tflite")
    trained, kept = Part(), Part()
    progress("reading the clip with bottles and hands")
    _bottles(data / "video" / BOTTLES, goods_and_people, palms, trained, kept)
    progress("reading the clips with people")
    _people(data / "video" / PEOPLE, 2 / 3, 8, goods_and_people, trained, kept, "people")
    _people(data / "video" / AISLE, 1 / 2, 2, goods_and_people, trained, kept, "aisle")
    progress("cutting out goods")
    roles = _roles(data / "grocery/catalog.csv")
    trained_stock = _stock(data / "grocery", roles, "trained", trained, random)
    kept_stock = _stock(data / "grocery", roles, "novel", kept, random)
    for folder in simulated:
        trained_stock.goods.extend(from_rectangle(crop) for crop in goods_at_events(folder))
    counts: dict[str, Counter[str]] = {}
    for name, picture, boxes in trained.frames:
        _add(out / "train", name, picture, boxes, counts, out)
    for name, picture, boxes in kept.frames:
        _add(out / "kept" / name.split("-")[0], name, picture, boxes, counts, out)
    progress("composing pictures")
    plan = (("train", composites, trained_stock), ("val", composites // 10, trained_stock))
    for where, number, stock in (*plan, ("kept/composed", composites // 6, kept_stock)):
        for i in range(number):
            picture, boxes = compose(Stock(stock.goods, stock.hands, stock.grounds), random)
            _add(out / where, f"composed-{i:05}", picture, boxes, counts, out)
    _write_data_yaml(out)
    made: dict[str, object] = {
        "seed": seed,
        "sets": {name: dict(count) for name, count in counts.items()},
        "frames_left_out": {"train": dict(trained.left_out), "kept": dict(kept.left_out)},
        "cutouts": {"goods": len(trained_stock.goods), "hands": len(trained.hands)},
    }
    (out / "material.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return made


@dataclass(slots=True)
class _Cut:
    goods: list[Cutout]
    hands: list[Cutout]
    grounds: list[Ground]


def _bottles(
    clip: Path, goods: GoodsAndPeopleTeacher, palms: PalmTeacher, trained: Part, kept: Part
) -> None:
    """Take every third frame of the first half to train with, every sixth of the second to judge.

    A frame in which something moves besides the goods, and no hand is found, is left out: its
    labels would be wrong. A hand where nothing moves is none. An arm is nobody: not a person here.
    """
    every = [(i, frame) for i, frame in frames(clip) if i % 3 == 0]
    still = np.median([frame for _, frame in every[::6]], axis=0).astype(np.uint8)
    places = goods.boxes(still)
    last = every[-1][0]
    for i, frame in every:
        part = trained if i < last / 2 else kept
        if part is kept and i % 6:
            continue
        moved = np.where(cv2.absdiff(frame, still).max(axis=2) > CHANGED, 1, 0).astype(np.uint8)
        seen = [each for each in goods.boxes(frame) if each.label == "product"]
        found = palms.hands(frame)
        hands = [hand for hand, palm in found if _inside(moved, palm).mean() > 0.5]
        for each in (*places, *seen, *hands):
            _inside(moved, each)[:] = 0
        unexplained = cv2.morphologyEx(moved, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).sum()
        if not hands and unexplained > 600:
            part.left_out["something moves and no hand is found"] += 1
            continue
        if len(found) > len(hands):
            part.left_out["a hand is found where nothing moves"] += 1
            continue
        part.frames.append((f"bottles-{i:05}", frame, [*seen, *hands]))
        for hand in hands:
            cut = from_moving_hand(frame, still, hand, [*places, *seen])
            if cut is not None:
                part.hands.append(cut)
        if not hands and len(seen) <= 1:
            part.grounds.append(Ground(frame, tuple(seen)))


def _inside(mask: np.ndarray, each: Labelled) -> np.ndarray:
    x1, y1, x2, y2 = (max(0, round(value)) for value in each.box)
    part: np.ndarray = mask[y1 : max(y1 + 1, y2), x1 : max(x1 + 1, x2)]
    return part


def _people(
    clip: Path,
    share: float,
    step: int,
    teacher: GoodsAndPeopleTeacher,
    trained: Part,
    kept: Part,
    name: str,
) -> None:
    """Take frames of the first share of clip to train with, of the rest to judge.

    A frame counts only if the next one shows the same people where they were.
    """
    every = list(frames(clip))
    for i in range(0, len(every) - 1, step):
        part = trained if i < share * len(every) else kept
        frame, boxes = every[i][1], teacher.boxes(every[i][1])
        now = [each for each in boxes if each.label == "person"]
        then = [each for each in teacher.boxes(every[i + 1][1]) if each.label == "person"]
        if not _same(now, then):
            part.left_out["the next frame shows other people"] += 1
            continue
        part.frames.append((f"{name}-{i:05}", frame, now))
        part.grounds.append(Ground(frame, tuple(now)))


def _same(now: list[Labelled], then: list[Labelled]) -> bool:
    if len(now) != len(then):
        return False
    if not now:
        return True
    one, other = (np.array([each.box for each in boxes], np.float32) for boxes in (now, then))
    return bool((overlap(one, other).max(axis=1) > 0.5).all())


def _roles(catalogue: Path) -> dict[str, str]:
    try:
        with catalogue.open(encoding="utf-8") as lines:
            return {row["sku"]: row["role"] for row in csv.DictReader(lines)}
    except (OSError, KeyError) as error:
        raise MaterialError(f"{catalogue}: cannot be read: {error}") from error


def _stock(grocery: Path, roles: dict[str, str], role: str, part: Part, random: Generator) -> _Cut:
    """Cut out the packshots of one role, and take photos of goods as labels and blurred grounds."""
    skus = [sku for sku, its in roles.items() if its == role]
    shots = _pictures(grocery / "iconic" / f"{sku}.jpg" for sku in skus)
    goods = [cut for cut in map(from_packshot, shots) if cut is not None]
    folder = grocery / ("trained/train" if role == "trained" else "novel/enrol")
    photos = list(_pictures(path for sku in skus for path in sorted((folder / sku).glob("*"))[:6]))
    grounds = list(part.grounds)
    for photo in photos:
        height, width = photo.shape[:2]
        w, h = int(random.integers(40, width * 2 // 3)), int(random.integers(50, height * 2 // 3))
        x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
        if random.random() < 0.3:
            goods.append(from_rectangle(photo[y : y + h, x : x + w]))
        blurred = cv2.GaussianBlur(photo, (0, 0), 6).astype(np.uint8)
        if random.random() < 0.5:
            grounds.append(Ground(blurred[: round(height * 0.75)]))
    if not goods or not grounds:
        raise MaterialError(f"{grocery}: holds no packshots or photos of {role} articles")
    return _Cut(goods, part.hands, grounds)


def _pictures(paths: Iterable[Path]) -> Iterable[Picture]:
    for path in paths:
        picture = cv2.imread(str(path))
        if picture is not None:
            yield picture.astype(np.uint8)


def _add(
    folder: Path,
    name: str,
    picture: Picture,
    boxes: list[Labelled],
    counts: dict[str, Counter[str]],
    out: Path,
) -> None:
    write(folder, name, picture, boxes)
    count = counts.setdefault(folder.relative_to(out).as_posix(), Counter())
    count.update(["pictures", *(each.label for each in boxes)])


def _write_data_yaml(out: Path) -> None:
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    (out / "data.yaml").write_text(
        f"path: {out.resolve()}\ntrain: train/images\nval: val/images\nnames:\n{names}",
        encoding="utf-8",
    )
