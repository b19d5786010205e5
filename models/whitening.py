"""Learn a projection in which what does not tell products apart counts for little.

Pretrained features vary for many reasons: light, scale, a hand, a blur. Dividing by the covariance
within products removes what is no reason to call something another product, also for products that
were never seen. But in the directions a training pulled its products apart in, its own pictures
hardly vary any more and new ones do; a stranger lies there with the product it resembles, and it is
the rest that shows it is another (Wang et al., ViM, 2022, know the unknown by that rest). So these
directions are made to count for less. The result is one matrix, which export folds into the
network's graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Exact = NDArray[np.float64]

FLATNESS = 0.15
"""See `fit_projection`; the value the default bundle was made with."""

_AT_ONCE = 1024
"""Rows of features that are held in double precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Features of products: (N, F) float32, and each row's product, (N,)."""

    features: Rows
    skus: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Streamed:
    """Features that come a few at a time and are not kept: batches of (B, F) float32.

    skus: each row's product, (N,), in the order the rows come in.
    """

    batches: Iterable[Rows]
    skus: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Brings features to an embedding, before normalisation: weight (D, F), bias (D,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, features: Rows) -> Rows:
        """Project (N, F) to (N, D) and scale to length 1."""
        projected = features @ self.weight.T + self.bias
        return np.asarray(
            projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12),
            np.float32,
        )


Weighed = Sequence[tuple[Labelled | Streamed, float]]
"""Sets of features, with the weight the covariance of each gets."""


def fit_projection(
    sets: Weighed, others: Weighed = (), *, shrinkage: float, dim: int, flatness: float = 0.0
) -> Projection:
    """Whiten by the covariance within products and keep the dim directions with most spread.

    sets: pictures of products; their middle becomes zero, and they say how directions spread.
        Memory grows with the products and with F x F, not with the pictures.
    others: of products that count for the covariance within products alone. What is of another make
        would move the middle, and all that is of one make then looks alike.
    shrinkage: share of the mean variance that is added to every direction.
    flatness: a direction is divided by this power of 1 and its variance in units of that within
        products. 0 leaves all directions whitened.
    Raises ValueError where a set has not as many rows as skus.
    """
    moments = [_Moments.of(rows) for rows, _ in sets]
    aside = [_Moments.of(rows) for rows, _ in others]
    within = np.zeros_like(moments[0].outer)
    for one, (_, weight) in zip([*moments, *aside], [*sets, *others], strict=True):
        within += weight * one.within()
    middle = np.concatenate([one.means for one in moments]).mean(axis=0)
    variance, directions = np.linalg.eigh(within)
    whitener = directions / np.sqrt(np.maximum(variance, 0) + shrinkage * variance.mean())
    spread, axes = np.linalg.eigh(whitener.T @ _spread(moments) @ whitener)
    flattened = axes * (1.0 + np.maximum(spread, 0)) ** -flatness
    weight_matrix = (whitener @ flattened[:, ::-1][:, :dim]).T
    return Projection(
        weight=np.ascontiguousarray(weight_matrix, np.float32),
        bias=np.asarray(-weight_matrix @ middle, np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Sums over the rows of a set, all that the projection needs to know of them.

    Rows count from an origin near their middle, so that little is lost where sums are subtracted.
    origin: (F,); sums: (P, F) by product, and counts (P,) of its rows; outer: (F, F), rows times
    themselves; fair: (F, F), the same with each product counting 1.
    """

    origin: Exact
    sums: Exact
    counts: NDArray[np.int64]
    outer: Exact
    fair: Exact

    @classmethod
    def of(cls, rows: Labelled | Streamed) -> _Moments:
        """Go through a set's rows once. Raises ValueError where they are not as many as said."""
        names, of, counts = np.unique(rows.skus, return_inverse=True, return_counts=True)
        done, made = 0, None
        for batch in _blocks(rows):
            if made is None:
                size = batch.shape[1]
                shapes = ((len(names), size), (size, size), (size, size))
                sums, outer, fair = (np.zeros(shape) for shape in shapes)
                made = cls(batch.mean(axis=0, dtype=np.float64), sums, counts, outer, fair)
            made._add(batch, of[done : done + len(batch)])
            done += len(batch)
        if made is None or done != len(of):
            raise ValueError(f"{done} rows of features, and skus of {len(of)}")
        return made

    def _add(self, batch: Rows, of: NDArray[np.intp]) -> None:
        moved = batch - self.origin
        np.add.at(self.sums, of, moved)
        np.add(self.outer, moved.T @ moved, out=self.outer)
        moved /= np.sqrt(self.counts[of])[:, None]
        np.add(self.fair, moved.T @ moved, out=self.fair)

    @property
    def means(self) -> Exact:
        """The mean of each product, (P, F)."""
        return np.asarray(self.sums / self.counts[:, None] + self.origin)

    def within(self) -> Exact:
        """Return the covariance within products, each product counting the same: (F, F)."""
        means = self.sums / self.counts[:, None]
        return np.asarray((self.fair - means.T @ means) / len(means))


def _spread(moments: Sequence[_Moments]) -> Exact:
    """Return the covariance of all rows of all sets, each row counting the same: (F, F)."""
    count = sum(int(one.counts.sum()) for one in moments)
    totals = [one.sums.sum(axis=0) for one in moments]
    middle, scatter = np.zeros_like(moments[0].origin), np.zeros_like(moments[0].outer)
    for one, total in zip(moments, totals, strict=True):
        middle += (one.counts.sum() * one.origin + total) / count
    for one, total in zip(moments, totals, strict=True):
        off = middle - one.origin
        cross = np.outer(total, off)
        scatter += one.outer - cross - cross.T + one.counts.sum() * np.outer(off, off)
    return np.asarray(scatter / max(count - 1, 1))


def _blocks(rows: Labelled | Streamed) -> Iterator[Rows]:
    """Yield rows so many at once that adding up F x F numbers costs little beside multiplying."""
    batches = [rows.features] if isinstance(rows, Labelled) else rows.batches
    waiting: list[Rows] = []
    for batch in batches:
        for start in range(0, len(batch), _AT_ONCE):
            waiting.append(batch[start : start + _AT_ONCE])
            if sum(map(len, waiting)) >= _AT_ONCE:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)
