"""Turn crops into embeddings, and embeddings into a decision.

A crop is brought to the network's input size, everything else happens inside the network's graph.
Several crops of one item are embedded and averaged. Called by the pipeline, through `Recogniser`,
and by enrolment and evaluation, through `Embedder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.gate import Decision, Gate
from edge.panel import Panel
from edge.runtime import Network, open_network
from models.bundle import Bundle, BundleError, Model
from models.crops import Crop, fitted
from models.table import normalised


class Embedder:
    """Crops in, L2-normalised embeddings out."""

    def __init__(self, network: Network, *, side: int, dim: int, fit: str) -> None:
        """Take a network from (B, side, side, 3) uint8 BGR to (B, dim) float32.

        fit: `stretch` or `letterbox`, how crops are brought to side by side pixels.
        """
        self._network = network
        self._side = side
        self._fit = fit
        self.dim = dim

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Embed crops, each (h, w, 3) uint8 BGR of any size, to (len(crops), dim) float32.

        Raises ValueError for a crop of another kind or without pixels.
        """
        if not crops:
            return np.empty((0, self.dim), np.float32)
        batch = np.stack([fitted(crop, self._side, self._fit) for crop in crops])
        return self._network.infer(batch)

    def embed_many(self, crops: Iterable[Crop]) -> Iterator[NDArray[np.float32]]:
        """Embed a stream of crops with several in flight: (dim,) each, in order."""
        batches = (fitted(crop, self._side, self._fit)[None] for crop in crops)
        for answer in self._network.infer_many(batches):
            yield answer[0]

    def embed_item(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Embed several crops of one item to their normalised mean, (dim,). At least one."""
        mean = self.embed(crops).mean(axis=0, keepdims=True)
        return np.asarray(normalised(mean)[0], np.float32)


class Recogniser:
    """Says which product crops of one item show."""

    def __init__(
        self,
        bundle: Bundle,
        runtime: str = "openvino",
        threads: int | None = None,
        cache_dir: Path | None = None,
        like: Recogniser | None = None,
    ) -> None:
        """Open a bundle's networks. Raises RuntimeUnavailable.

        runtime, threads, cache_dir: as for `edge.runtime.open_network`.
        like: one on the same runtime, whose networks are used where they are the same files; the
        two then must not be asked at the same time.
        """
        self.bundle = bundle
        self._embedders: dict[str, Embedder] = {}
        for group in bundle.groups:
            if group.model.name not in self._embedders:
                shared = None if like is None else like.embedder_of(group.model)
                self._embedders[group.model.name] = shared or open_embedder(
                    group.model, runtime=runtime, threads=threads, cache_dir=cache_dir
                )
        routes = bundle.routes
        if routes is not None and routes.model.name not in self._embedders:
            self._embedders[routes.model.name] = open_embedder(
                routes.model, runtime=runtime, threads=threads, cache_dir=cache_dir
            )
        self._models = {group.name: group.model for group in bundle.groups}
        self._panel = Panel(
            {group.name: group.table for group in bundle.groups},
            {group.name: group.model.name for group in bundle.groups},
            routes.router if routes is not None else None,
            routes.model.name if routes is not None else "",
        )
        self._gates = self._panel.gates

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the category groups, in the bundle's order."""
        return tuple(self._gates)

    def embedder(self, group: str) -> Embedder:
        """Return what embeds crops for a group. Raises KeyError."""
        return self._embedders[self._models[group].name]

    def embedder_of(self, model: Model) -> Embedder | None:
        """Return what embeds by the very files of a model, None where nothing here does."""
        for group in self.bundle.groups:
            ours = group.model
            same = (ours.side, ours.dim, ours.fit) == (model.side, model.dim, model.fit)
            if same and _same_files(ours, model):
                return self._embedders[ours.name]
        return None

    def gate(self, group: str) -> Gate:
        """Return a group's gate. Raises KeyError."""
        return self._gates[group]

    def decide(self, crops: Sequence[Crop], groups: Sequence[str] = ()) -> Decision:
        """Decide which product crops show.

        crops: one or more (h, w, 3) uint8 BGR pictures of one item.
        groups: category groups to ask first, the planogram's order; names the bundle does not have
            are passed over. What none of them knows is asked of all others. Without any the
            bundle's router says whom to ask first, and whether that is enough.
        Raises ValueError for a crop without pixels.
        """
        return self._panel.decide(self._embedding(crops), groups)

    def _embedding(self, crops: Sequence[Crop]) -> Callable[[str], NDArray[np.float32]]:
        """Return what embeds an item by a model's name, once by each."""
        return cache(lambda model: self._embedders[model].embed_item(crops))

    def check(self) -> None:
        """Run the bundle's self-test on this box.

        Raises BundleError naming the first crop that is decided otherwise than expected.
        """
        for test in self.bundle.self_tests:
            crop = cv2.imread(str(test.crop), cv2.IMREAD_COLOR)
            if crop is None:
                raise BundleError(f"{test.crop}: not a picture")
            decision = self._panel.ask(test.group, self._embedding([np.asarray(crop, np.uint8)]))
            same = (decision.verdict, decision.sku) == (test.verdict, test.sku)
            tolerance = self._models[test.group].tolerance
            if not same or abs(decision.distance - test.distance) > tolerance:
                raise BundleError(
                    f"{test.crop}: self-test failed: expected {test.verdict} {test.sku} at "
                    f"{test.distance:.4f}, got {decision.verdict} {decision.sku} at "
                    f"{decision.distance:.4f}"
                )


def _same_files(one: Model, other: Model) -> bool:
    """Tell whether two models lie in the very same files of the disk."""
    return len(one.files) == len(other.files) and all(
        first.samefile(second) for first, second in zip(one.files, other.files, strict=True)
    )


def open_embedder(
    model: Model,
    *,
    runtime: str = "openvino",
    threads: int | None = None,
    cache_dir: Path | None = None,
) -> Embedder:
    """Open a bundle's model. Raises RuntimeUnavailable."""
    network = open_network(
        model.openvino, model.onnx, runtime=runtime, threads=threads, cache_dir=cache_dir
    )
    return Embedder(network, side=model.side, dim=model.dim, fit=model.fit)
