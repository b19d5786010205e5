"""Let a network compute in 8 bits, for boxes that are quick at it: post-training, by NNCF.

Ranges come from pictures, and layers that cost too much go back to floats until what the whole
costs is little (`quantize_with_accuracy_control`). One ONNX file, which OpenVINO and ONNX Runtime
both run in 8 bits. Needs the `train` extra. Called by `models.default`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray
from torch import nn

from models.export import as_onnx
from models.folding import fold_batch_norms
from models.table import normalised

Crop = NDArray[np.uint8]

MOST_LOST = 0.005
"""Share of the pictures that may be told apart no more; beyond it layers stay in floats."""

MOST = 2000
"""Pictures that a network is judged by; more take memory, and change what is found little."""

_RANGES = 300
"""Pictures that ranges are taken from; more find no other ones."""

_AT_ONCE = 8

_FEWEST_CONVOLUTIONS = 2
"""One alone cuts pictures into the tokens of a transformer."""


class QuantiseError(ValueError):
    """A network cannot compute in 8 bits, or nothing tells what that costs."""


def export_int8(
    embedder: nn.Module,
    stem: Path,
    crops: Sequence[Crop],
    skus: Sequence[str],
    *,
    most_lost: float = MOST_LOST,
) -> Path:
    """Write stem.onnx, whose convolutions compute in 8 bits, and return its path.

    embedder: as for `models.export.export_onnx`. crops: (side, side, 3) uint8 BGR of what the
    network will see, several of each product, none of which it was trained on; skus: what they
    show. most_lost: how much smaller the share of them may become that lie nearest to the middle of
    their product.
    Raises QuantiseError where no product has two crops, which tells nothing, and for a network that
    hardly has convolutions.
    """
    embedder.eval()
    fold_batch_norms(embedder)
    floats = as_onnx(embedder, crops[0].shape[0])
    if sum(node.op_type == "Conv" for node in floats.graph.node) < _FEWEST_CONVOLUTIONS:
        raise QuantiseError(
            "this network is not one of convolutions, and only those compute in 8 bits: "
            "leave its arithmetic in floats"
        )
    path = stem.with_suffix(".onnx")
    onnx.save_model(quantised(floats, crops, skus, most_lost=most_lost), str(path))
    return path


def spread(skus: Sequence[str], most: int = MOST) -> list[int]:
    """Return the places of at most so many pictures, of all products alike and in pairs.

    skus: what each picture shows. In pairs, since a product's only picture judges nothing.
    """
    names, of = np.unique(skus, return_inverse=True)
    turn = np.random.default_rng(0).permutation(len(names))
    seen = np.zeros(len(names), int)
    order = []
    for place, product in enumerate(of):
        order.append((seen[product] // 2, turn[product], place))
        seen[product] += 1
    return sorted(place for _, _, place in sorted(order)[:most])


def quantised(
    model: onnx.ModelProto,
    crops: Sequence[Crop],
    skus: Sequence[str],
    *,
    most_lost: float = MOST_LOST,
) -> onnx.ModelProto:
    """Return a graph of an embedder that computes in 8 bits; as `export_int8` otherwise."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    judge = Judge(embedded(model, crops), skus)

    def share(candidate: onnx.ModelProto, places: Iterable[int]) -> tuple[float, list[float]]:
        asked = list(places)
        right = judge.right(embedded(candidate, [crops[i] for i in asked]), asked)
        return float(np.mean(right)), right

    some = range(0, len(crops), -(-len(crops) // _RANGES))
    name = model.graph.input[0].name
    # NNCF shows how far it is on the standard output, which belongs to the command's result.
    with contextlib.redirect_stdout(sys.stderr):
        found: onnx.ModelProto = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset([{name: crops[i][None]} for i in some]),
            nncf.Dataset(range(len(crops))),
            share,
            max_drop=most_lost,
            # With ranges that are not symmetric OpenVINO keeps most layers in floats on some chips.
            preset=nncf.QuantizationPreset.PERFORMANCE,
            # Chips without VNNI add products of 8 bits in 16, which overflow at full range.
            advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
            subset_size=len(some),
            ignored_scope=nncf.IgnoredScope(names=outside(model.graph), validate=False),
        )
    return found


def embedded(model: onnx.ModelProto, crops: Sequence[Crop]) -> NDArray[np.float32]:
    """Return (N, D) embeddings of crops by a graph, of length 1, as a device computes them."""
    core, precision = ov.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    network = core.compile_model(core.read_model(model.SerializeToString()), "CPU", precision)
    starts = range(0, len(crops), _AT_ONCE)
    rows = [network(np.stack(crops[i : i + _AT_ONCE]))[0].copy() for i in starts]
    return normalised(np.concatenate(rows))


def outside(graph: onnx.GraphProto) -> list[str]:
    """Return the names of all steps that do not lie between convolutions.

    What brings pictures to the first one, and what makes an embedding of the last one's map, is
    little work and loses most.
    """
    after = _reached(graph.node, lambda node: (node.input, node.output))
    before = _reached(reversed(graph.node), lambda node: (node.output, node.input))
    inside = after & before
    return [n.name for n in graph.node if n.op_type != "Conv" and n.name not in inside]


def _reached(nodes: Iterable[Any], ends: Callable[[Any], Any]) -> set[str]:
    """Return the names of the steps that a convolution's result comes to, in the order of nodes."""
    tensors: set[str] = set()
    found = set()
    for node in nodes:
        coming, going = ends(node)
        if tensors.intersection(coming):
            found.add(node.name)
        if node.name in found or node.op_type == "Conv":
            tensors.update(going)
    return found


class Judge:
    """Tells which pictures lie nearest to the middle of their product, as floats have it."""

    def __init__(self, rows: NDArray[np.float32], skus: Sequence[str]) -> None:
        """Take (N, D) embeddings by the network in floats, and what they show.

        Raises QuantiseError where no product has two.
        """
        names, self._of, self._counts = np.unique(skus, return_inverse=True, return_counts=True)
        if self._counts.max() < 2:
            raise QuantiseError("INT8 needs two or more pictures of some product to be judged by")
        self._sums = np.zeros((len(names), rows.shape[1]), np.float32)
        np.add.at(self._sums, self._of, rows)
        self._middles, self._rows = normalised(self._sums), rows

    def right(self, rows: NDArray[np.float32], places: Sequence[int]) -> list[float]:
        """Return 1.0 for each of (N, D) rows that is nearest to its own product's others.

        places: of the rows among the judge's own, whose part in the middle is left out.
        """
        found = []
        for row, place in zip(rows, places, strict=True):
            own = self._of[place]
            others = self._sums[own] - self._rows[place]
            similar = self._middles @ row
            similar[own] = normalised(others[None])[0] @ row if self._counts[own] > 1 else -np.inf
            found.append(float(similar.argmax() == own))
        return found
