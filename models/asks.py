"""What enrolment, evaluation and calibration ask of the device's half: to embed and to decide.

The training half does not import the device's; the commands hand in what fulfils these protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.table import GroupTable


class Embeds(Protocol):
    """What turns pictures into embeddings."""

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed crops, each (h, w, 3) uint8 BGR, to (len(crops), D), L2-normalised."""
        ...

    def embed_many(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Embed a stream of crops, in order: (D,) each."""
        ...


def embedded(embedder: Embeds, crops: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Embed N crops, at least one, to (N, D).

    One by one with several in flight, which is quicker than all in a batch.
    """
    return np.stack(list(embedder.embed_many(crops)))


class Named(Protocol):
    """A product the gate considered."""

    @property
    def sku(self) -> str:
        """Its sku."""
        ...

    @property
    def distance(self) -> float:
        """Cosine distance in [0, 2]."""
        ...


class Ruling(Protocol):
    """What a gate made of an embedding."""

    @property
    def verdict(self) -> str:
        """One of accept, refine, reject, review."""
        ...

    @property
    def sku(self) -> str | None:
        """The product, where the verdict is accept or refine."""
        ...

    @property
    def distance(self) -> float:
        """Cosine distance in [0, 2] to the nearest candidate."""
        ...

    @property
    def strangeness(self) -> float:
        """How unknown the item looks, in [0, 2]: the distance as the table's yardstick tells it."""
        ...

    @property
    def nearest(self) -> Sequence[Named]:
        """Candidates, nearest first."""
        ...

    @property
    def immediate(self) -> bool:
        """Whether the centroids alone settled it."""
        ...

    @property
    def group(self) -> str:
        """The category group that answered."""
        ...


class Decides(Protocol):
    """A gate over one table."""

    def decide(self, embedding: NDArray[np.float32]) -> Ruling:
        """Decide on one (D,) embedding."""
        ...


class DecidesAmong(Protocol):
    """The gates of several category groups, asked as a device asks them."""

    def decide(self, embedding: Callable[[str], NDArray[np.float32]]) -> Ruling:
        """Decide on one item, of which embedding gives the (D,) one by a model's name."""
        ...


MakesGate = Callable[[GroupTable], Decides]
