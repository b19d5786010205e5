"""Small tables and embeddings for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.table import SAFE, GroupTable, Looks, Thresholds, build_table, normalised

LIMITS = Thresholds(tl=0.3, th=0.5, margin=0.5, anchor_accept=0.4, anchor_margin=0.5)


def directions(count: int, dim: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Return (count, dim) random unit vectors."""
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return normalised(rows)


def looks(centroid: NDArray[np.float32], anchors: int = 3, seed: int = 0) -> Looks:
    """Return a centroid with anchors close around it."""
    noise = np.random.default_rng(seed).normal(0, 0.05, (anchors, len(centroid)))
    return Looks(centroid, normalised((centroid + noise).astype(np.float32)))


def a_table(
    products: int = 5, dim: int = 16, seed: int = 0, thresholds: Thresholds = SAFE
) -> GroupTable:
    """Return a table of products p0, p1, ... in random directions."""
    rows = directions(products, dim, seed)
    return build_table({f"p{i}": looks(row, seed=i) for i, row in enumerate(rows)}, dim, thresholds)
