"""What a network finds in pictures that are read as it comes to them, and how well it tells apart.

Needs the `train` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Crops = Sequence[NDArray[np.uint8]]

_FEATURES_AT_ONCE = 32
_COMPARED_AT_ONCE = 256


def embedded(
    function: Callable[[Tensor], Tensor], crops: Crops, device: torch.device | None = None
) -> NDArray[np.float32]:
    """Return what a function of (B, S, S, 3) uint8 crops gives for all of them: (N, F)."""
    return np.concatenate(list(embedded_batches(function, crops, device)))


def embedded_batches(
    function: Callable[[Tensor], Tensor], crops: Crops, device: torch.device | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield what `embedded` returns a few rows at a time, of crops that are read as they come."""
    for start in range(0, len(crops), _FEATURES_AT_ONCE):
        some = range(start, min(start + _FEATURES_AT_ONCE, len(crops)))
        batch = torch.from_numpy(np.stack([crops[i] for i in some])).to(device)
        with torch.inference_mode():
            rows = function(batch).float().cpu().numpy()
        yield rows


def nearest_is_alike(rows: NDArray[np.float32], skus: NDArray[np.str_]) -> float:
    """Return the share of (N, F) rows whose nearest other one is of the same of N skus.

    rows: of length 1. So many are compared at once that memory grows with N, not with N x N.
    """
    right = 0
    for start in range(0, len(rows), _COMPARED_AT_ONCE):
        some = np.arange(start, min(start + _COMPARED_AT_ONCE, len(rows)))
        alike = rows[some] @ rows.T
        alike[some - start, some] = -2.0
        right += int((skus[alike.argmax(axis=1)] == skus[some]).sum())
    return right / len(rows)
