"""What one category group knows its products by.

A table holds a centroid and a few anchors for each product, and the thresholds the gate decides
with. On disk it is a folder of `.npy` files that are memory-mapped, so a table of 10,000 products
opens at once and is shared between processes. Read by the gate, written by enrolment.

Folders of the first format, which had neither yardstick nor spreads nor handicaps, and of the
second, which had no doubt, still open: to tables in which those change nothing, so that each
decides as it did for its maker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.yardstick import MOST_LEAD, NEUTRAL, Yardstick

CENTROIDS = "centroids.npy"
ANCHORS = "anchors.npy"
OFFSETS = "offsets.npy"
DESCRIPTION = "table.json"
FILES = (CENTROIDS, ANCHORS, OFFSETS, DESCRIPTION)
"""What every table's folder holds; newer ones hold PRODUCTS too."""

PRODUCTS = "products.npy"
GAP = "packshot.npy"
FORMAT = 3

_UNIT_TOLERANCE = 1e-3
ANCHORS_ASKED = 5
"""Nearest anchors that tell a product."""

_FIRST_FORMAT = {"anchors": 0.3}
"""What the yardstick was before there was one."""

_SECOND_FORMAT = {"doubt": 0.0}
"""What there was no word for in the second format."""


class TableError(Exception):
    """A table's parts do not fit together, or an embedding does not fit the table."""


CARRIED = 0.9
"""What is left of a distance to accept at, for a catalogue it was not calibrated on."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When the gate accepts, looks closer, or rejects.

    tl, th, anchor_accept are cosine distances in [0, 2], as the table's yardstick tells them; the
    margins are leads (see `models.search.Search.lead`).

    tl: nearer than this to a centroid is accepted at once.
    th: farther than this from every centroid is rejected at once; tl <= th.
    margin: lead over the second product's centroid that it takes to be settled at once.
    anchor_accept: in between, the distance refined by the anchors must be below this to accept.
    anchor_margin: and its lead at least this.
    """

    tl: float
    th: float
    margin: float
    anchor_accept: float
    anchor_margin: float

    def __post_init__(self) -> None:
        """Raise TableError where a value is no distance, or tl lies above th."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            most = MOST_LEAD if entry.name.endswith("margin") else 2.0
            if not (math.isfinite(value) and 0.0 <= value <= most):
                raise TableError(f"threshold {entry.name} is {value}, must lie in [0, {most:g}]")
        if self.tl > self.th:
            raise TableError(f"threshold tl {self.tl} lies above th {self.th}")

    def carried(self, share: float = CARRIED, least_lead: float = 0.0) -> Thresholds:
        """Return what holds for goods that it was not calibrated on: it accepts from nearer only.

        share: what is left of the distances to accept at. How near a look-alike of other goods
        comes is not known; until they are calibrated for themselves, a tenth is kept between.
        least_lead: no smaller lead is enough at the centroids, and at the anchors none under twice
        that: what has to be looked at closely is doubtful already.
        """
        return replace(
            self,
            tl=share * self.tl,
            anchor_accept=share * self.anchor_accept,
            margin=max(least_lead, self.margin),
            anchor_margin=max(2.0 * least_lead, self.anchor_margin),
        )


SAFE = Thresholds(tl=0.15, th=1.0, margin=1.0, anchor_accept=0.3, anchor_margin=1.0)
"""For a group with too little data to calibrate: accepts little, sends much to review.

Only what has nothing in common with any product is rejected: from a bad camera two thirds of what
is sold lie beyond 0.5 with the network that ships, and can still be told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What is kept of one product.

    centroid: (D,) L2-normalised mean of all its embeddings.
    anchors: (n, D) L2-normalised, n >= 1, embeddings that cover its looks.
    spread: usual cosine distance of a picture of it to the centroid of the others; 0 where unknown.
    handicap: what is added to distances to it, in [-1, 2].
    """

    centroid: NDArray[np.float32]
    anchors: NDArray[np.floating[Any]]
    spread: float = 0.0
    handicap: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """How far packshots lie from photographs, for this group's network.

    shift: (D,) float32, added to an embedding of a packshot to bring it among the photographs.
    bonus: what distances to a product known by packshots only count less by, in [0, 1].
    """

    shift: NDArray[np.float32]
    bonus: float


@dataclass(frozen=True, slots=True, eq=False)
class GroupTable:
    """The products of one category group.

    skus: P of them; row p of every array belongs to skus[p].
    centroids: (P, D) float32, contiguous, L2-normalised.
    anchors: (A, D) float16 or float32, contiguous, L2-normalised; those of product p are the rows
        offsets[p] to offsets[p + 1], at least one. They are most of a table, and few are read at a
        time: half precision halves what goes over a shop's line.
    offsets: (P + 1,) int64, from 0 to A, strictly increasing.
    products: (P, 2) float32, spread and handicap of each (see `Looks`); zeros where not given.
        Products a network was trained on draw strangers towards them; the handicap makes up for it.
    yardstick: how distances are told before they are compared with the thresholds.
    gap: between packshots and photographs, None where it was not learned.
    Raises TableError where the parts do not fit.
    """

    skus: tuple[str, ...]
    centroids: NDArray[np.float32]
    anchors: NDArray[np.floating[Any]]
    offsets: NDArray[np.int64]
    thresholds: Thresholds
    products: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 2), np.float32))
    yardstick: Yardstick = NEUTRAL
    gap: Gap | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit."""
        if not len(self.products) and len(self.skus):
            object.__setattr__(self, "products", np.zeros((len(self.skus), 2), np.float32))
        if len(set(self.skus)) != len(self.skus):
            raise TableError("a sku is in the table twice")
        for name, array, kinds in (
            ("centroids", self.centroids, ("float32",)),
            ("anchors", self.anchors, ("float16", "float32")),
        ):
            if array.ndim != 2 or array.dtype.name not in kinds or not array.flags.c_contiguous:
                raise TableError(f"{name} must be a contiguous (n, D) {' or '.join(kinds)} array")
        if self.centroids.shape[0] != len(self.skus):
            raise TableError(f"{len(self.skus)} skus but {self.centroids.shape[0]} centroids")
        if self.anchors.shape[1] != self.dim:
            raise TableError("anchors and centroids differ in dimension")
        good = self.offsets.shape == (len(self.skus) + 1,) and self.offsets.dtype == np.int64
        if not good or self.offsets[0] != 0 or self.offsets[-1] != self.anchors.shape[0]:
            raise TableError("offsets must be (P + 1,) int64, from 0 to the number of anchors")
        if np.any(np.diff(self.offsets) < 1):
            raise TableError("every product needs at least one anchor")
        if self.products.shape != (len(self.skus), 2) or self.products.dtype != np.float32:
            raise TableError("products must be (P, 2) float32: spread and handicap of each")
        least = np.array([0.0, -1.0], np.float32)
        if not ((self.products >= least) & (self.products <= 2.0)).all():
            raise TableError("a product's spread is not in [0, 2], or its handicap not in [-1, 2]")
        if self.gap is not None and self.gap.shift.shape != (self.dim,):
            raise TableError(f"the packshots' shift must be ({self.dim},)")

    @property
    def dim(self) -> int:
        """D, the length of an embedding."""
        return int(self.centroids.shape[1])

    def __len__(self) -> int:
        return len(self.skus)

    @property
    def spreads(self) -> NDArray[np.float32]:
        """(P,) usual distances of the products' own pictures; 0 where unknown."""
        return np.asarray(self.products[:, 0])

    @property
    def handicaps(self) -> NDArray[np.float32]:
        """(P,) distances that are added to each product's."""
        return np.asarray(self.products[:, 1])

    def anchors_of(self, row: int) -> NDArray[np.floating[Any]]:
        """Return the (n, D) anchors of one product, a view."""
        return self.anchors[self.offsets[row] : self.offsets[row + 1]]

    def looks_of(self, row: int) -> Looks:
        """Return what is kept of one product."""
        spread, handicap = self.products[row].tolist()
        return Looks(self.centroids[row], self.anchors_of(row), spread, handicap)

    def refined(self, embedding: NDArray[np.float32], rows: Sequence[int]) -> list[float]:
        """Return distances in [0, 2] to the looks of a few products, handicaps included.

        The centroid and the nearest anchors, weighed: the anchors alone know a product's looks, but
        what looks like a single picture of it is more often something else.
        """
        found, share = [], self.yardstick.anchors
        for row in rows:
            anchors = self.anchors_of(row) @ embedding
            anchors.sort()
            nearest = float(anchors[-ANCHORS_ASKED:].mean())
            centroid = float(self.centroids[row] @ embedding)
            similar = share * nearest + (1.0 - share) * centroid
            found.append(min(max(1.0 - similar + float(self.products[row, 1]), 0.0), 2.0))
        return found

    def with_thresholds(
        self, thresholds: Thresholds, yardstick: Yardstick | None = None
    ) -> GroupTable:
        """Return the same products under other thresholds, and another yardstick if given.

        What anchors and doubts count for stays, since queries were read with it.
        """
        told = yardstick or self.yardstick
        told = replace(told, anchors=self.yardstick.anchors, doubt=self.yardstick.doubt)
        return replace(self, thresholds=thresholds, yardstick=told)

    def with_handicap(self, skus: Iterable[str], handicap: float) -> GroupTable:
        """Return the table with this handicap for some products; unknown skus are ignored."""
        chosen = set(skus)
        products = np.array(self.products)
        products[[sku in chosen for sku in self.skus], 1] = handicap
        return replace(self, products=products)

    def with_products(self, looks: Mapping[str, Looks]) -> GroupTable:
        """Return a table with products added, and replaced where the sku is known.

        What is not replaced keeps its exact values, and what is replaced a handicap over 0, which
        comes from the network and not from the pictures. Raises TableError.
        """
        trained = np.flatnonzero(self.handicaps > 0).tolist()
        known = {self.skus[row]: self.products[row, 1] for row in trained}
        looks = {
            sku: replace(look, handicap=float(known[sku])) if sku in known else look
            for sku, look in looks.items()
        }
        left = self.without(looks)
        added = build_table(looks, self.dim, self.thresholds)
        return replace(
            self,
            skus=left.skus + added.skus,
            centroids=np.concatenate([left.centroids, added.centroids]),
            anchors=np.concatenate([left.anchors, added.anchors]),
            offsets=_offsets([*np.diff(left.offsets), *np.diff(added.offsets)]),
            products=np.concatenate([left.products, added.products]),
        )

    def without(self, skus: Iterable[str]) -> GroupTable:
        """Return a table that does not know these products; unknown skus are ignored."""
        gone = set(skus)
        kept = [row for row, sku in enumerate(self.skus) if sku not in gone]
        rows = [self.anchors_of(row) for row in kept]
        return replace(
            self,
            skus=tuple(self.skus[row] for row in kept),
            centroids=np.ascontiguousarray(self.centroids[kept]),
            anchors=np.concatenate([*rows, np.empty((0, self.dim), self.anchors.dtype)]),
            offsets=_offsets([len(block) for block in rows]),
            products=np.ascontiguousarray(self.products[kept]),
        )

    def save(self, folder: Path) -> None:
        """Write the table's files into folder, which must exist."""
        np.save(folder / CENTROIDS, self.centroids)
        np.save(folder / ANCHORS, self.anchors)
        np.save(folder / OFFSETS, self.offsets)
        np.save(folder / PRODUCTS, self.products)
        if self.gap is not None:
            np.save(folder / GAP, np.append(self.gap.shift, np.float32(self.gap.bonus)))
        description = {
            "format": FORMAT,
            "skus": self.skus,
            "thresholds": asdict(self.thresholds),
            "yardstick": asdict(self.yardstick),
            **({"gap": True} if self.gap is not None else {}),
        }
        text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def load_table(folder: Path) -> GroupTable:
    """Open a saved table; its arrays are memory-mapped and read-only. Raises TableError."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = int(description.get("format", 1))
        if not 1 <= version <= FORMAT:
            raise TableError(f"{folder}: table format {version}; this version reads 1 to {FORMAT}")
        skus = tuple(str(sku) for sku in description["skus"])
        thresholds = Thresholds(**{k: float(v) for k, v in description["thresholds"].items()})
        told = description["yardstick"] if version > 1 else _FIRST_FORMAT
        told = told if version > 2 else {**_SECOND_FORMAT, **told}
        yardstick = Yardstick(**{k: float(v) for k, v in told.items()})
        arrays = [
            np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in (CENTROIDS, ANCHORS, OFFSETS, *((PRODUCTS,) if version > 1 else ()))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{folder}: not a table: {error}") from error
    products = arrays[3] if version > 1 else np.zeros((len(skus), 2), np.float32)
    gap = _load_gap(folder / GAP) if description.get("gap") else None
    return GroupTable(skus, arrays[0], arrays[1], arrays[2], thresholds, products, yardstick, gap)


def _load_gap(path: Path) -> Gap:
    try:
        row = np.load(path, allow_pickle=False)
        return Gap(np.ascontiguousarray(row[:-1], np.float32), float(row[-1]))
    except (OSError, ValueError, IndexError) as error:
        raise TableError(f"{path}: not a gap between packshots and photographs: {error}") from error


def build_table(looks: Mapping[str, Looks], dim: int, thresholds: Thresholds) -> GroupTable:
    """Make a table of products by sku; there may be none. Raises TableError."""
    for sku, look in looks.items():
        if look.centroid.shape != (dim,) or look.anchors.ndim != 2 or not len(look.anchors):
            raise TableError(f"{sku}: needs a ({dim},) centroid and at least one anchor")
        if look.anchors.shape[1] != dim:
            raise TableError(f"{sku}: anchors must be (n, {dim}), not {look.anchors.shape}")
        lengths = np.linalg.norm(np.vstack([look.centroid[None], look.anchors]), axis=1)
        if not np.allclose(lengths, 1.0, atol=_UNIT_TOLERANCE):
            raise TableError(f"{sku}: anchors and centroid must be L2-normalised")
    empty = np.empty((0, dim), np.float32)
    centroids = [np.asarray(look.centroid, np.float32)[None] for look in looks.values()]
    anchors = [np.asarray(look.anchors, np.float16) for look in looks.values()]
    return GroupTable(
        skus=tuple(looks),
        centroids=np.ascontiguousarray(np.concatenate([empty, *centroids])),
        anchors=np.ascontiguousarray(np.concatenate([empty.astype(np.float16), *anchors])),
        offsets=_offsets([len(block) for block in anchors]),
        thresholds=thresholds,
        products=np.array([(x.spread, x.handicap) for x in looks.values()], np.float32).reshape(
            -1, 2
        ),
    )


def merged(tables: Sequence[GroupTable]) -> GroupTable:
    """Return the products of all tables, at least one, in one; the rest is as in the first table.

    What several know is kept as the first of them has it. Raises TableError where they differ in
    dimension.
    """
    if len({table.dim for table in tables}) > 1:
        raise TableError("tables of different dimensions cannot be merged")
    seen: set[str] = set()
    parts = []
    for table in tables:
        parts.append(table.without(seen))
        seen.update(table.skus)
    return replace(
        tables[0],
        skus=tuple(sku for part in parts for sku in part.skus),
        centroids=np.concatenate([part.centroids for part in parts]),
        anchors=np.concatenate([part.anchors for part in parts]),
        offsets=_offsets([n for part in parts for n in np.diff(part.offsets)]),
        products=np.concatenate([part.products for part in parts]),
    )


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, D) rows scaled to length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)


def _offsets(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
