"""Make a product known from its pictures, without training.

Each picture, and some mild changes of it where there are few, becomes an embedding; the centroid is
their mean, the anchors are those that cover the product's looks best. Pictures that look like none
of the others are left out. Called by `shelfgate models enrol`, by evaluation and by the build of
the default bundle; the embedder is handed in.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.allowance import allowance
from models.asks import Embeds, embedded
from models.augment import MILD, changed
from models.packshots import is_packshot, staged
from models.table import GroupTable, Looks, normalised

ANCHORS = 24
"""Anchors kept of a product."""

ENOUGH_PICTURES = 12
"""From so many pictures on, no changed ones are made up."""

_DOUBT = 4
"""As many pictures as what is usual in a group counts for, where a product's spread is told."""

_OUTLIER = 0.2
"""How much farther than the median a picture may lie from the others' middle."""

_MADS = 4.5
"""And how many median deviations: a product of many looks has pictures far out."""

_TWIN_LEAD = 0.1
"""A picture nearer than this to another product, beside its own, cannot be told from it."""

_TWIN_SHARE = 0.25
"""So many of a product's pictures make it a look-alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Enrolment:
    """What came of enrolling one product.

    outliers: positions of pictures that were left out.
    confused_with: the product of the table that can hardly be told from it, or None.
    confusion: distance to that product's centroid, or to the nearest one's, in [0, 2].
    typical: position of the picture that is most like the others.
    from_packshots: whether there was nothing but packshots.
    """

    looks: Looks
    outliers: tuple[int, ...]
    confused_with: str | None
    confusion: float
    typical: int = 0
    from_packshots: bool = False

    def fitting(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Return those of the pictures it was made from that were not left out."""
        return [picture for n, picture in enumerate(pictures) if n not in self.outliers]


def enrol(
    sku: str,
    pictures: Sequence[NDArray[np.uint8]],
    embedder: Embeds,
    table: GroupTable,
    others: Sequence[GroupTable] = (),
    *,
    among_equals: bool = False,
) -> Enrolment:
    """Return a product's looks; the same pictures always give the same.

    pictures: one or more (h, w, 3) uint8 BGR. table: what its group knows already. others: tables
    of other groups that the same model embeds, to warn of look-alikes there too.
    among_equals: whether all products have as few pictures, so that none needs an allowance for it
    (`models.allowance`).
    Raises ValueError for no pictures.
    """
    if not pictures:
        raise ValueError(f"{sku}: no pictures to enrol from")
    if all(is_packshot(picture) for picture in pictures):
        return _from_packshots(sku, pictures, embedder, table, others)
    plain = embedded(embedder, pictures)
    keep, outliers = without_outliers(plain)
    rows = plain[keep]
    if len(keep) < ENOUGH_PICTURES:
        random = np.random.default_rng(zlib.crc32(sku.encode()))
        each = -(-ENOUGH_PICTURES // len(keep)) - 1 or 1
        views = (changed(pictures[i], MILD, random) for i in keep for _ in range(each))
        rows = np.concatenate([rows, embedded(embedder, views)])
    usual = usual_spread(table)
    looks = looks_of(rows, first=len(keep), usual=usual)
    twin, distance = _twin(sku, looks, rows[: len(keep)], [table, *others])
    if not among_equals:
        looks = replace(looks, handicap=-allowance(len(keep), usual))
    typical = keep[int(np.argmax(plain[keep] @ looks.centroid))]
    return Enrolment(looks, outliers, twin, distance, typical)


def _from_packshots(
    sku: str,
    pictures: Sequence[NDArray[np.uint8]],
    embedder: Embeds,
    table: GroupTable,
    others: Sequence[GroupTable],
) -> Enrolment:
    """Enrol from nothing but packshots: staged, and brought over the gap where it is known."""
    random = np.random.default_rng(zlib.crc32(sku.encode()))
    views = (view for picture in pictures for view in staged(picture, random))
    rows, bonus = embedded(embedder, views), 0.0
    if table.gap is not None:
        rows, bonus = normalised(rows + table.gap.shift), table.gap.bonus
    looks = looks_of(rows, first=0, usual=usual_spread(table))
    twin, distance = _twin(sku, looks, rows, [table, *others])
    return Enrolment(
        replace(looks, handicap=-bonus), (), twin, distance, typical=0, from_packshots=True
    )


def _twin(
    sku: str, looks: Looks, rows: NDArray[np.float32], tables: Sequence[GroupTable]
) -> tuple[str | None, float]:
    """Return the nearest look-alike of any table, itself left out, as `look_alike` does."""
    found = [look_alike(looks, rows, table.without([sku])) for table in tables]
    return min(found, key=lambda one: (one[0] is None, one[1]))


def look_alike(
    looks: Looks, rows: NDArray[np.float32], table: GroupTable
) -> tuple[str | None, float]:
    """Return the product of a table that can hardly be told from a new one, or None.

    rows: (n, D) the new product's pictures. Also returns the distance to that product's centroid,
    or to the nearest one's. A product is a look-alike where a quarter of the pictures lie about as
    near to it as to the others of their own, or where its centroid lies within the spread of both.
    """
    if not len(table):
        return None, 2.0
    distances = np.clip(1.0 - table.centroids @ looks.centroid, 0.0, 2.0)
    nearest = int(np.argmin(distances))
    if len(rows) > 1:
        others = normalised(rows.sum(axis=0) - rows)
        own = 1.0 - np.vecdot(rows, others)
        theirs = 1.0 - rows @ table.centroids.T
        near = (theirs < (1.0 + _TWIN_LEAD) * own[:, None]).mean(axis=0)
        if near.max() >= _TWIN_SHARE:
            twin = int(np.argmax(near))
            return table.skus[twin], float(distances[twin])
    spread = max(_spread(looks), looks.spread)
    close = distances[nearest] < spread * (1.0 + _TWIN_LEAD)
    return (table.skus[nearest] if close else None), float(distances[nearest])


def looks_of(rows: NDArray[np.float32], first: int | None = None, usual: float = 0.0) -> Looks:
    """Return the centroid of (n, D) embeddings, the anchors that cover them, and their spread.

    first: how many of the leading rows are real pictures, which are preferred as anchors and of
    which alone the spread is told. usual: spread of other products, towards which few pictures are
    drawn; 0 where there are none.
    """
    centroid = normalised(rows.mean(axis=0, keepdims=True))[0]
    real = len(rows) if first is None else first
    spread = spread_of(rows[:real], usual)
    if real >= ANCHORS:
        return Looks(centroid, covering(rows[:real], ANCHORS), spread)
    return Looks(centroid, covering(rows, ANCHORS, start=real), spread)


def spread_of(rows: NDArray[np.float32], usual: float = 0.0) -> float:
    """Return the median distance of each of (n, D) rows to the centroid of the others.

    usual: what it is for other products; counts as much as a few pictures, 0 for not at all.
    """
    if len(rows) < 2:
        return usual
    others = normalised(rows.sum(axis=0) - rows)
    own = float(np.clip(np.median(1.0 - np.vecdot(rows, others)), 0.0, 2.0))
    return (len(rows) * own + _DOUBT * usual) / (len(rows) + _DOUBT) if usual else own


def usual_spread(table: GroupTable) -> float:
    """Return how far a picture usually lies from its product's centroid; 0 where unknown."""
    known = table.spreads[table.spreads > 0]
    return float(np.median(known)) if len(known) else 0.0


def covering(rows: NDArray[np.float32], count: int, start: int = 0) -> NDArray[np.float32]:
    """Choose up to count of (n, D) rows so that the others lie near a chosen one.

    start: so many leading rows are chosen in any case. Greedy: always the row that lies farthest
    from those chosen, beginning with the most central one.
    """
    if len(rows) <= count:
        return np.ascontiguousarray(rows)
    chosen = list(range(min(start, count)))
    if not chosen:
        chosen = [int(np.argmax(rows @ rows.mean(axis=0)))]
    distance = 1.0 - (rows @ rows[chosen].T).max(axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, 1.0 - rows @ rows[chosen[-1]])
    return np.ascontiguousarray(rows[sorted(chosen)])


def without_outliers(rows: NDArray[np.float32]) -> tuple[list[int], tuple[int, ...]]:
    """Return the rows of (n, D) to keep, and those that look like none of the others.

    With fewer than four pictures nobody can say which is the odd one.
    """
    if len(rows) < 4:
        return list(range(len(rows))), ()
    distance = 1.0 - np.vecdot(rows, normalised(rows.sum(axis=0) - rows))
    usual = np.median(distance)
    odd = distance > usual + max(_OUTLIER, _MADS * float(np.median(np.abs(distance - usual))))
    if odd.sum() * 4 > len(rows):
        return list(range(len(rows))), ()
    return np.flatnonzero(~odd).tolist(), tuple(np.flatnonzero(odd).tolist())


def _spread(looks: Looks) -> float:
    """Return the median distance of a product's anchors to its centroid."""
    return float(np.median(1.0 - looks.anchors @ looks.centroid))
