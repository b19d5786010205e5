"""Say which category group a crop belongs to, where no planogram does.

The router knows every product's centroid in one network's space and asks in whose group the nearest
lies. It is sure only where the nearest product of any other group lies clearly farther; otherwise
all groups are asked. So a wrong route cannot make a confident wrong product: what one group alone
accepts was either routed surely, or accepted by no other. Used by the recogniser. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bounds import surely_within
from models.table import GroupTable, TableError
from models.yardstick import MOST_LEAD, lead

ROWS = "rows.npy"
DESCRIPTION = "router.json"
FILES = (ROWS, DESCRIPTION)


@dataclass(frozen=True, slots=True)
class Route:
    """Groups in the order they should be asked, and whether the first alone will do."""

    groups: tuple[str, ...]
    sure: bool


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """Routes embeddings to groups.

    rows: (R, D) float32, L2-normalised centroids. owners: (R,) int64, the group of each.
    groups: names. margin: lead over the nearest product of another group that it takes to be sure.
    skus: the product each row is of; none where it was made before that was kept.
    Raises TableError where the parts do not fit.
    """

    rows: NDArray[np.float32]
    owners: NDArray[np.int64]
    groups: tuple[str, ...]
    margin: float = MOST_LEAD
    skus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit."""
        fits = self.rows.ndim == 2 and self.rows.dtype == np.float32
        if not fits or self.owners.shape != (len(self.rows),) or not self.groups:
            raise TableError("a router needs (R, D) float32 rows, an owner of each, and groups")
        if len(self.owners) and not (
            0 <= self.owners.min() <= self.owners.max() < len(self.groups)
        ):
            raise TableError("a router's row belongs to no group")
        if self.skus and len(self.skus) != len(self.rows):
            raise TableError(f"a router names {len(self.skus)} products for {len(self.rows)} rows")
        if not 0.0 <= self.margin <= MOST_LEAD:
            raise TableError(f"router margin {self.margin} must lie in [0, {MOST_LEAD:g}]")

    def route(self, embedding: NDArray[np.float32]) -> Route:
        """Route one (D,) embedding. Raises TableError for another dimension."""
        order, distances = self._nearest(embedding)
        sure = len(order) < 2 or lead(distances) >= self.margin
        return Route(tuple(self.groups[owner] for owner in order), sure)

    def reading(self, embedding: NDArray[np.float32]) -> tuple[str, float]:
        """Return the nearest group and its lead over the next."""
        order, distances = self._nearest(embedding)
        return self.groups[order[0]], lead(distances)

    def save(self, folder: Path) -> None:
        """Write the router's files into folder, which must exist."""
        np.save(folder / ROWS, self.rows)
        told = {
            "groups": self.groups,
            "owners": self.owners.tolist(),
            "margin": self.margin,
            "skus": self.skus,
        }
        (folder / DESCRIPTION).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def _nearest(self, embedding: NDArray[np.float32]) -> tuple[list[int], list[float]]:
        """Return the groups that have rows, nearest first, and the distance to each."""
        if embedding.shape != self.rows.shape[1:]:
            raise TableError(
                f"embedding of shape {embedding.shape}, router of {self.rows.shape[1]}"
            )
        nearest = np.full(len(self.groups), np.inf)
        np.minimum.at(nearest, self.owners, 1.0 - self.rows @ embedding)
        order = [n for n in np.argsort(nearest, kind="stable").tolist() if nearest[n] < np.inf]
        return order, [float(max(nearest[n], 0.0)) for n in order]


def load_router(folder: Path) -> Router:
    """Open a saved router. Raises TableError."""
    try:
        told = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        rows = np.load(folder / ROWS, mmap_mode="r", allow_pickle=False)
        groups = tuple(str(name) for name in told["groups"])
        skus = tuple(str(sku) for sku in told.get("skus", ()))
        return Router(rows, np.array(told["owners"], np.int64), groups, float(told["margin"]), skus)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"{folder}: not a router: {error}") from error


def router_of(tables: Mapping[str, GroupTable], margin: float = MOST_LEAD) -> Router:
    """Return a router over the centroids of tables whose groups share a model."""
    return Router(
        np.ascontiguousarray(np.concatenate([table.centroids for table in tables.values()])),
        np.repeat(np.arange(len(tables)), [len(table) for table in tables.values()]),
        tuple(tables),
        margin,
        tuple(sku for table in tables.values() for sku in table.skus),
    )


def kept_up(
    router: Router,
    tables: Mapping[str, GroupTable],
    middles: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    shared: bool,
) -> Router:
    """Return a router that knows tables as they are now.

    tables: of the router's groups. middles: (D,) L2-normalised of products that are new, by the
    router's model. shared: whether the groups share that model, so that their centroids tell.
    Where neither tells of a product that is sold now the router is not sure of anything any more,
    and all groups are asked.
    """
    if shared:
        return router_of(tables, router.margin)
    known = {**dict(zip(router.skus, router.rows, strict=False)), **(middles or {})}
    sold = [(sku, name) for name, table in tables.items() for sku in table.skus]
    placed = [(known[sku], name, sku) for sku, name in sold if sku in known]
    if len(placed) < len(sold):
        return replace(router, margin=MOST_LEAD)
    return Router(
        np.array([row for row, *_ in placed], np.float32).reshape(-1, router.rows.shape[1]),
        np.array([router.groups.index(name) for _, name, _ in placed], np.int64),
        router.groups,
        router.margin,
        tuple(sku for *_, sku in placed),
    )


def with_margin(
    router: Router,
    embeddings: NDArray[np.float32],
    groups: Sequence[str],
    wrong: float = 0.005,
    confidence: float = 0.6,
) -> Router:
    """Return the router with the least margin at which it is wrong rarely enough when sure.

    embeddings, groups: (N, D) queries that are not among its rows, and their groups. wrong: share
    of sure routes that may be wrong at most, held at the upper bound of this confidence; where
    that cannot be had the router is never sure.
    """
    found = [router.reading(row) for row in embeddings]
    ahead = np.array([value for _, value in found])
    right = np.array([name == group for (name, _), group in zip(found, groups, strict=True)])
    for margin in np.unique(np.round(ahead, 3)).tolist():
        sure = ahead >= margin
        if surely_within(int((~right[sure]).sum()), int(sure.sum()), wrong, confidence):
            return replace(router, margin=float(min(margin, MOST_LEAD)))
    return replace(router, margin=MOST_LEAD)


@dataclass(frozen=True, slots=True)
class Routing:
    """How well a router routes: share routed rightly, share it is sure of, and wrong of those."""

    accuracy: float
    sure: float
    wrong_when_sure: float


def calibrated(
    router: Router, embeddings: NDArray[np.float32], groups: Sequence[str]
) -> tuple[Router, Routing]:
    """Return the router with a margin from every other query, and how it does on the rest.

    embeddings, groups: as for `with_margin`.
    """
    router = with_margin(router, embeddings[::2], groups[::2])
    return router, routed(router, embeddings[1::2], groups[1::2])


def routed(router: Router, embeddings: NDArray[np.float32], groups: Sequence[str]) -> Routing:
    """Measure a router on (N, D) queries whose group is known, N > 0."""
    found = [router.reading(row) for row in embeddings]
    right = np.array([name == group for (name, _), group in zip(found, groups, strict=True)])
    sure = np.array([ahead >= router.margin for _, ahead in found])
    wrong = float((~right[sure]).mean()) if sure.any() else 0.0
    return Routing(float(right.mean()), float(sure.mean()), wrong)
