"""Learn a projection in which what does not tell products apart counts for little.

Pretrained features vary for many reasons: light, scale, a hand, a blur. Dividing by the covariance
within products removes what is no reason to call something another product, also for products that
were never seen. The result is one matrix, which export folds into the network's graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Features of products: (N, F) float32, and each row's product, (N,)."""

    features: Rows
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


def fit_projection(
    sets: Sequence[tuple[Labelled, float]], *, shrinkage: float, dim: int
) -> Projection:
    """Whiten by the covariance within products and keep the dim directions with most spread.

    sets: pictures of products, with the weight each set's covariance gets.
    shrinkage: share of the mean variance that is added to every direction.
    """
    within = np.zeros((sets[0][0].features.shape[1],) * 2)
    means = []
    for labelled, weight in sets:
        own_means, residuals = _residuals(labelled)
        within += weight * (residuals.T @ residuals) / len(residuals)
        means.append(own_means)
    variance, directions = np.linalg.eigh(within)
    whitener = directions / np.sqrt(np.maximum(variance, 0) + shrinkage * variance.mean())
    middle = np.concatenate(means).mean(axis=0)
    spread = np.concatenate([labelled.features for labelled, _ in sets]) - middle
    _, axes = np.linalg.eigh(np.cov((spread @ whitener).T))
    weight_matrix = (whitener @ axes[:, ::-1][:, :dim]).T
    return Projection(
        weight=np.ascontiguousarray(weight_matrix, np.float32),
        bias=np.asarray(-weight_matrix @ middle, np.float32),
    )


def _residuals(labelled: Labelled) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each product's mean, and what remains of its rows, each product counting the same."""
    names, of, counts = np.unique(labelled.skus, return_inverse=True, return_counts=True)
    means = np.zeros((len(names), labelled.features.shape[1]))
    np.add.at(means, of, labelled.features)
    means /= counts[:, None]
    weight = 1.0 / np.sqrt(counts[of])
    weight /= np.sqrt((weight**2).mean())
    return means, (labelled.features - means[of]) * weight[:, None]
