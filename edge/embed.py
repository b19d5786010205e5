"""Turn crops into embeddings, and embeddings into a decision.

A crop is brought to the network's input size, everything else happens inside the network's graph.
Several crops of one item are embedded and averaged. Called by the pipeline, through `Recogniser`,
and by enrolment and evaluation, through `Embedder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.gate import Decision, Gate, Verdict
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
        self._routes = bundle.routes
        if bundle.routes is not None and bundle.routes.model.name not in self._embedders:
            self._embedders[bundle.routes.model.name] = open_embedder(
                bundle.routes.model, runtime=runtime, threads=threads, cache_dir=cache_dir
            )
        self._models = {group.name: group.model for group in bundle.groups}
        self._gates = {group.name: Gate(group.table, group.name) for group in bundle.groups}

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
        first = [name for name in groups if name in self._gates]
        embeddings: dict[str, NDArray[np.float32]] = {}
        asked: list[Decision] = []
        if not first and self._routes is not None and len(self._gates) > 1:
            route = self._routes.router.route(
                self._embedding(self._routes.model.name, crops, embeddings)
            )
            # A router that is not sure must not leave it to one group: see `combined`.
            first = list(route.groups[:1]) if route.sure else []
        for name in first:
            asked.append(self._ask(name, crops, embeddings))
            if asked[-1].sku is not None:
                return asked[-1]
        others = [self._ask(n, crops, embeddings) for n in self._gates if n not in first]
        return combined([*asked, *others])

    def _ask(
        self, group: str, crops: Sequence[Crop], embeddings: dict[str, NDArray[np.float32]]
    ) -> Decision:
        embedding = self._embedding(self._models[group].name, crops, embeddings)
        return self._gates[group].decide(embedding)

    def _embedding(
        self, model: str, crops: Sequence[Crop], embeddings: dict[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        if model not in embeddings:
            embeddings[model] = self._embedders[model].embed_item(crops)
        return embeddings[model]

    def check(self) -> None:
        """Run the bundle's self-test on this box.

        Raises BundleError naming the first crop that is decided otherwise than expected.
        """
        for test in self.bundle.self_tests:
            crop = cv2.imread(str(test.crop), cv2.IMREAD_COLOR)
            if crop is None:
                raise BundleError(f"{test.crop}: not a picture")
            decision = self._ask(test.group, [np.asarray(crop, np.uint8)], {})
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


def combined(decisions: Sequence[Decision]) -> Decision:
    """Make one decision of what several groups said.

    One group that knows the item settles it. Several that do are a question for a person, as is an
    item that one group asks to review; an item is unknown where it is to all.
    """
    known = [decision for decision in decisions if decision.sku is not None]
    if len(known) == 1:
        return known[0]
    if known:
        return _review(known)
    doubtful = [decision for decision in decisions if decision.verdict is Verdict.REVIEW]
    return min(doubtful or decisions, key=lambda decision: decision.distance)


def _review(decisions: Sequence[Decision]) -> Decision:
    nearest = sorted(
        (candidate for decision in decisions for candidate in decision.nearest),
        key=lambda candidate: candidate.distance,
    )
    best = min(decisions, key=lambda decision: decision.distance)
    return Decision(
        verdict=Verdict.REVIEW,
        sku=None,
        distance=nearest[0].distance,
        nearest=tuple(nearest),
        group=best.group,
        immediate=False,
        strangeness=min(decision.strangeness for decision in decisions),
    )
