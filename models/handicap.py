"""Find how much farther the products a network was trained on must count.

Training draws a product's pictures together, and strangers with them: a newcomer's picture lands
nearer to a trained centroid than to its own. Adding a little to all distances to trained products
gives newcomers their due (calibrated stacking, Chao et al. 2016). How much is found by a rehearsal:
a network trained without some products, which then are its newcomers. Called by the build of a
bundle. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from models.search import Search
from models.table import GroupTable

STEPS = tuple(np.round(np.arange(0.0, 0.121, 0.005), 3).tolist())


def find_handicap(
    rehearsed: GroupTable,
    trained: Collection[str],
    embeddings: NDArray[np.float32],
    skus: Sequence[str],
) -> float:
    """Return the handicap with which trained products and newcomers are told equally well.

    rehearsed: a table by the rehearsal's network, of its trained products and its newcomers.
    embeddings, skus: (N, D) queries of both that were not enrolled, and what they show.
    Returns the handicap with the best mean of both accuracies, the smaller on ties; 0 where there
    are queries of one kind only.
    """
    old = np.array([sku in trained for sku in skus])
    if old.all() or not old.any():
        return 0.0
    search = Search(rehearsed.with_handicap(rehearsed.skus, 0.0))
    similar = np.stack([search.similarities(row) for row in embeddings])
    names = np.array(rehearsed.skus)
    known = np.isin(names, list(trained))
    truth = np.array(skus)

    def worth(handicap: float) -> tuple[float, float]:
        right = names[(similar - handicap * known).argmax(axis=1)] == truth
        return float(right[old].mean() + right[~old].mean()), -handicap

    return float(max(STEPS, key=worth))
