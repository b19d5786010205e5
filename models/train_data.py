"""Feed training from disk: batches of P products with K pictures each, seen anew every time.

Nothing but paths is kept in memory. What is drawn depends on the seed, the pass and the process
alone, so that a training that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from models.crops import fitted
from models.pictures import labelled, read_picture
from models.train_views import shelf_view

_LARGER = 1.5
"""Pictures are made so much larger than a view, since parts of them fill it."""


class TrainingDataError(Exception):
    """There is not enough to train with; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Batches:
    """How batches are made up: products in one, pictures of each, pixels a side, seed.

    harsh, backgrounds: shares of the views, see `models.recipe.Recipe`.
    """

    products: int
    pictures: int
    side: int
    fit: str
    harsh: float
    backgrounds: float
    seed: int
    workers: int


class Views(Dataset[tuple[Tensor, Tensor]]):
    """Pictures of products, each time another view of them: (side, side, 3) uint8 and a label."""

    def __init__(
        self, pictures: Mapping[str, Sequence[Path]], batches: Batches, seed: Sequence[int]
    ) -> None:
        """Take pictures by sku; labels number the skus in order."""
        self.skus = list(pictures)
        numbers = {sku: number for number, sku in enumerate(self.skus)}
        self._paths = [path for _, path in labelled(pictures)]
        self.labels = [numbers[sku] for sku, _ in labelled(pictures)]
        self._side, self._fit, self._seed = batches.side, batches.fit, list(seed)
        self._shares = {"harsh": batches.harsh, "backgrounds": batches.backgrounds}
        self._random: np.random.Generator | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a new view of a picture and its label. Raises PictureError."""
        if self._random is None:
            worker = get_worker_info()
            self._random = np.random.default_rng([*self._seed, worker.id if worker else 0])
        other = int(self._random.integers(len(self._paths)))
        view = shelf_view(self._read(index), self._read(other), self._random, **self._shares)
        crop = torch.from_numpy(fitted(view, self._side, self._fit))
        return crop, torch.tensor(self.labels[index])

    def _read(self, index: int) -> NDArray[np.uint8]:
        """Read a picture, no larger than views of this side need."""
        picture = read_picture(self._paths[index])
        scale = _LARGER * self._side / max(picture.shape[:2])
        if scale >= 1.0:
            return picture
        smaller = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.asarray(smaller, np.uint8)


def one_pass(
    pictures: Mapping[str, Sequence[Path]], batches: Batches, number: int, rank: int, ranks: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return the batches of one pass: (B, side, side, 3) uint8 and (B,) labels.

    number: of the pass. rank, ranks: this process of how many; each draws its share.
    Raises TrainingDataError for fewer than two products.
    """
    if len(pictures) < 2:
        raise TrainingDataError(f"{len(pictures)} products: telling apart takes at least two")
    seed = [batches.seed, number, rank]
    views = Views(pictures, batches, seed)
    products = min(batches.products, len(pictures))
    size = products * batches.pictures
    count = max(size, len(views) // ranks // size * size)
    # The library's sampler draws from numpy's global generator.
    np.random.seed((batches.seed * 1_000_003 + number * 1_009 + rank) % 2**32)
    sampler = MPerClassSampler(views.labels, batches.pictures, size, count)
    return DataLoader(views, size, sampler=sampler, num_workers=batches.workers, drop_last=True)


def plain(
    pictures: Mapping[str, Sequence[Path]], side: int, fit: str
) -> tuple[list[str], Sequence[NDArray[np.uint8]]]:
    """Return the sku of each picture, and the pictures unchanged, read when they are asked for."""
    return [sku for sku, _ in labelled(pictures)], _Unchanged(
        [path for _, path in labelled(pictures)], side, fit
    )


class _Unchanged(Sequence[NDArray[np.uint8]]):
    def __init__(self, paths: list[Path], side: int, fit: str) -> None:
        self._paths, self._side, self._fit = paths, side, fit

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        return fitted(read_picture(self._paths[index]), self._side, self._fit)
