"""Make the most of a packshot: the provider's picture of a product, cut out on white.

No camera ever sees a product like that, so its embedding lies far from those of crops. Two things
bring it nearer: views in which it stands or lies in heaps before something, and a shift that is
learned from products which have both packshots and photographs. What remains of the gap is told to
the gate as a bonus, without which every photographed product would win. Used by enrolment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.asks import Embeds, embedded
from models.augment import MILD, changed
from models.pictures import read_picture
from models.table import Gap, GroupTable, Looks, build_table, normalised

Picture = NDArray[np.uint8]

VIEWS = 16
"""Views made of a packshot."""

_PLAIN = 240
"""A packshot's edge is at least so bright almost everywhere."""

_WHITE = 225
"""What is not so bright, or does not reach the edge, is the product."""

_SIDE = 224
_FOLDS = 5
_SCALES = (0.0, 0.5, 1.0, 1.5)
_BONUSES = tuple(np.round(np.arange(0.0, 0.21, 0.01), 2).tolist())
_WORTH = 0.95
"""Share of the others' accuracy that packshots should reach by the bonus."""

_COST = 0.22
"""Greatest loss of accuracy that the others may suffer by it, while a fifth are packshots."""


def is_packshot(picture: Picture) -> bool:
    """Return whether a picture, (h, w, 3) uint8 BGR, shows something before plain white."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return bool((edge.min(axis=1) > _PLAIN).mean() > 0.85)


def staged(packshot: Picture, random: np.random.Generator, count: int = VIEWS) -> Iterator[Picture]:
    """Yield views of a packshot as a camera might see the product; the first is the packshot.

    count: at least 2. Made as they are asked for, so that one is embedded while the next is made.
    """
    cut, mask = _cut_out(packshot)
    yield packshot
    yield changed(cut, MILD, random)
    for number in range(2, count):
        make = _standing if number % 2 else _heaped
        yield changed(make(cut, mask, random), MILD, random)


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """What a gap is learned from.

    table: products enrolled from photographs. packshots: (n, D) embeddings of staged views by sku;
    those the table lacks are ignored. queries, skus: (N, D) other photographs, what they show.
    """

    table: GroupTable
    packshots: Mapping[str, NDArray[np.float32]]
    queries: NDArray[np.float32]
    skus: Sequence[str]


def learn_gap(rehearsal: Rehearsal) -> Gap:
    """Find the shift and bonus that serve packshots best without spoiling the others.

    A fifth of the products in turn are known by their packshot only. Returns no gap where fewer
    than ten products have both.
    """
    table = rehearsal.table
    both = [row for row, sku in enumerate(table.skus) if sku in rehearsal.packshots]
    if len(both) < 2 * _FOLDS:
        return Gap(np.zeros(table.dim, np.float32), 0.0)
    views = [rehearsal.packshots[table.skus[row]] for row in both]
    shots = normalised(np.stack([rows.mean(axis=0) for rows in views]))
    photos = table.centroids[both]
    everything = range(len(table))
    similar = 1.0 - np.array([table.refined(q, everything) for q in rehearsal.queries], np.float32)
    truth = np.array([table.skus.index(s) if s in table.skus else -1 for s in rehearsal.skus])
    best, most = (0.0, 0.0), -1.0
    for scale in _SCALES:
        outcomes = np.zeros((len(_BONUSES), 2))
        for fold in range(_FOLDS):
            out = np.arange(len(both)) % _FOLDS == fold
            shift = scale * (photos[~out] - shots[~out]).mean(axis=0)
            looks = {table.skus[both[i]]: _looks(views[i] + shift) for i in np.flatnonzero(out)}
            known = build_table(looks, table.dim, table.thresholds)
            known = replace(known, yardstick=table.yardstick)
            seen = [known.refined(q, range(len(known))) for q in rehearsal.queries]
            rows = np.array(both)[out]
            outcomes += _outcomes(similar, 1.0 - np.array(seen, np.float32), rows, truth) / _FOLDS
        place = _least_bonus(outcomes)
        if outcomes[place].sum() > most + 1e-9:
            best, most = (scale, _BONUSES[place]), float(outcomes[place].sum())
    scale, bonus = best
    return Gap(np.asarray(scale * (photos - shots).mean(axis=0), np.float32), float(bonus))


def _least_bonus(outcomes: NDArray[np.float64]) -> int:
    """Return the place of the least bonus that serves packshots well enough, if others bear it."""
    bearable = outcomes[:, 1] >= outcomes[0, 1] - _COST
    enough = bearable & (outcomes[:, 0] >= _WORTH * outcomes[:, 1])
    return int(np.flatnonzero(enough)[0] if enough.any() else np.flatnonzero(bearable)[-1])


def _looks(rows: NDArray[np.float32]) -> Looks:
    """Return what a product's staged views make of it: their middle, and all as anchors."""
    unit = normalised(rows)
    return Looks(normalised(unit.mean(axis=0, keepdims=True))[0], unit)


def with_gap(
    table: GroupTable,
    embedder: Embeds,
    packshots: Mapping[str, Sequence[Path]],
    queries: NDArray[np.float32],
    skus: Sequence[str],
) -> GroupTable:
    """Return a table that knows how far packshots lie from photographs.

    packshots: of its products by sku; pictures that are none are passed over. queries, skus: as in
    `Rehearsal`. Raises PictureError for unreadable pictures.
    """
    random = np.random.default_rng(0)
    found = {}
    for sku, paths in packshots.items():
        pictures = [p for p in map(read_picture, paths) if is_packshot(p)]
        if pictures and sku in table.skus:
            views = (view for picture in pictures for view in staged(picture, random))
            found[sku] = embedded(embedder, views)
    return replace(table, gap=learn_gap(Rehearsal(table, found, queries, skus)))


def _outcomes(
    similar: NDArray[np.float32],
    seen: NDArray[np.float32],
    rows: NDArray[np.int64],
    truth: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return (bonuses, 2): accuracy on products known by packshot, and on all others."""
    own = np.isin(truth, rows)
    found = []
    for bonus in _BONUSES:
        both = similar.copy()
        both[:, rows] = seen + bonus
        right = both.argmax(axis=1) == truth
        found.append((right[own].mean() if own.any() else 0.0, right[~own].mean()))
    return np.array(found)


def _cut_out(packshot: Picture) -> tuple[Picture, NDArray[np.uint8]]:
    """Return the product alone, and a mask of it: what is not white up to the edge."""
    light = (packshot.min(axis=2) > _WHITE).astype(np.uint8)
    _, labels = cv2.connectedComponents(light)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    mask = (~np.isin(labels, np.unique(edge[edge > 0]))).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) < 8 or len(columns) < 8:
        return packshot, np.ones(packshot.shape[:2], np.uint8)
    inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.ascontiguousarray(packshot[inside]), np.ascontiguousarray(mask[inside])


def _backdrop(height: int, width: int, random: np.random.Generator) -> Picture:
    """Return blurred colours, as what is behind a product mostly is."""
    cells = random.integers(2, 6, 2)
    coarse = random.integers(20, 200, (*cells, 3)).astype(np.float32) * random.uniform(0.3, 1.0)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(smooth + random.normal(0.0, 6.0, smooth.shape), 0, 255)
    return np.asarray(noisy, np.uint8)


def _standing(cut: Picture, mask: NDArray[np.uint8], random: np.random.Generator) -> Picture:
    """Show the product once, almost filling the view."""
    height, width = cut.shape[:2]
    roomy = 1.0 / random.uniform(0.75, 1.0)
    whole = _backdrop(round(height * roomy), round(width * roomy * random.uniform(1, 1.4)), random)
    top = round((whole.shape[0] - height) * random.uniform(0.2, 0.8))
    left = round((whole.shape[1] - width) * random.uniform(0.2, 0.8))
    _paste(whole, cut, mask, top, left)
    return whole


def _heaped(cut: Picture, mask: NDArray[np.uint8], random: np.random.Generator) -> Picture:
    """Show a heap of the product, as fruit lies in a box."""
    whole = _backdrop(_SIDE, _SIDE, random)
    size = random.uniform(0.35, 0.75) * _SIDE
    scale = size / max(cut.shape[:2])
    for _ in range(6 + int(3 * (_SIDE / size) ** 2)):
        turned, turned_mask = _turned(cut, mask, random.uniform(-60, 60), scale, random)
        top, left = (random.uniform(-0.3, 1.0, 2) * _SIDE).astype(int).tolist()
        _paste(whole, turned, turned_mask, top, left)
    return whole


def _turned(
    cut: Picture,
    mask: NDArray[np.uint8],
    angle: float,
    scale: float,
    random: np.random.Generator,
) -> tuple[Picture, NDArray[np.uint8]]:
    height, width = cut.shape[:2]
    scale *= random.uniform(0.85, 1.15)
    side = int(float(np.hypot(height, width)) * scale) + 2
    turn = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), np.float64)
    turn[:, 2] += np.array([side - width, side - height]) / 2
    lit = np.clip(cut * random.uniform(0.7, 1.1), 0, 255).astype(np.uint8)
    return (
        np.asarray(cv2.warpAffine(lit, turn, (side, side)), np.uint8),
        np.asarray(cv2.warpAffine(mask, turn, (side, side)), np.uint8),
    )


def _paste(whole: Picture, part: Picture, mask: NDArray[np.uint8], top: int, left: int) -> None:
    """Put part onto whole where mask is set; what lies outside is cut off."""
    y1, x1 = max(0, top), max(0, left)
    y2 = min(whole.shape[0], top + part.shape[0])
    x2 = min(whole.shape[1], left + part.shape[1])
    if y2 <= y1 or x2 <= x1:
        return
    inside = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
    where = mask[inside][..., None] > 0
    whole[y1:y2, x1:x2] = np.where(where, part[inside], whole[y1:y2, x1:x2])
