"""What each part of the recognition is worth, by leaving it out or putting another in its place.

One training each on the grocery photographs, of the smaller backbone and with no handicap (what
ships is the mean of three of a larger one), all 70 products in one table: nearest product of the
pictures of trained products, and of the `novel` ones, which are enrolled only. Nine trainings: some
minutes on a GPU, two hours on two cores; with --keep they are used again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray

from edge.embed import Embedder as DeviceEmbedder
from edge.runtime import open_network
from models.catalogue import read_catalogue
from models.embedder import Embedder
from models.enrol import looks_of
from models.export import as_onnx, export_embedder
from models.losses import Term
from models.pictures import find_pictures, labelled
from models.quantise import export_int8
from models.recipe import Recipe
from models.table import SAFE, GroupTable, build_table, normalised
from models.train import trained_once
from models.train_data import plain
from tests.bench.results import table as as_table
from tests.shared import grocery_pictures

RECIPE = Recipe(workers=1)

Rows = NDArray[np.float32]
Pictures = dict[str, list[Path]]


def run(recipe: Recipe = RECIPE, keep: Path | None = None) -> dict[str, Any]:
    """Train the variants and ask each; a row of the table is a variant's name and its shares.

    keep: folder for the trainings; finished ones that it holds are not done again.
    """
    grocery = grocery_pictures()
    learnt = find_pictures([grocery / "trained" / "train"])
    with tempfile.TemporaryDirectory(prefix="shelfgate-ablation-") as name:
        work = keep or Path(name)
        trained = {
            label: trained_once(learnt, work / _folder(label), one).embedder
            for label, one in _variants(recipe).items()
        }
        networks = {
            label: _exported(network, Path(name) / _folder(label), recipe)
            for label, network in trained.items()
        }
        rows = [(label, *_asked(network, grocery)) for label, network in networks.items()]
        rows += _per_department(grocery, learnt, work, Path(name), recipe)
        rows += _by_what_is_kept(next(iter(networks.values())), grocery)
        rows += _by_numbers(next(iter(trained.values())), grocery, Path(name), recipe)
    return {"backbone": recipe.backbone, "side": recipe.side, "passes": recipe.passes, "rows": rows}


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    said = f"{figures['backbone']}, {figures['passes']} passes, {figures['side']} pixels."
    rows = [(label, f"{known:.3f}", f"{new:.3f}") for label, known, new in figures["rows"]]
    return f"{said}\n\n{as_table(('variant', 'trained', 'untrained'), rows)}"


def _variants(recipe: Recipe) -> dict[str, Recipe]:
    """Return the trainings to compare, by name; the first is whole."""
    scratch = replace(recipe, pretrained=False, frozen_stages=0, pull=0.0, learning_rate=1e-3)
    return {
        "softmax and triplet, pretrained": recipe,
        "triplet alone, pretrained": replace(recipe, losses=(Term("triplet"),)),
        "softmax alone, pretrained": replace(recipe, losses=(Term("softmax"),)),
        "softmax and triplet, from scratch": scratch,
        "without colours": replace(recipe, colour_weight=0.0),
        "nothing trained, whitened": replace(recipe, learning_rate=1e-12),
    }


def _folder(label: str) -> str:
    return label.replace(",", "").replace(" ", "-")


class _Network:
    """Embeds pictures by a network in a form that a device runs; each of them once."""

    def __init__(self, form: tuple[Path, Path], recipe: Recipe) -> None:
        """Open a form, the paths of its IR and its ONNX file."""
        self._recipe = recipe
        self._device = DeviceEmbedder(
            open_network(*form, runtime="openvino"),
            side=recipe.side,
            dim=recipe.dim,
            fit=recipe.fit,
        )
        self._found: dict[tuple[Path, ...], tuple[list[str], Rows]] = {}

    def embedded(self, pictures: Mapping[str, list[Path]]) -> tuple[list[str], Rows]:
        """Return skus and (N, D) embeddings of all pictures."""
        asked = tuple(path for _, path in labelled(pictures))
        if asked not in self._found:
            skus, crops = plain(pictures, self._recipe.side, self._recipe.fit)
            # Eight bits do not hold the length of one exactly.
            rows = normalised(np.stack(list(self._device.embed_many(crops))))
            self._found[asked] = skus, rows
        return self._found[asked]


def _exported(network: Embedder, stem: Path, recipe: Recipe) -> _Network:
    return _Network(export_embedder(network, stem, side=recipe.side), recipe)


def _asked(network: _Network, grocery: Path) -> tuple[float, float]:
    return _shares(network.embedded, grocery, "both")


def _shares(embedded: Any, grocery: Path, kept: str) -> tuple[float, float]:
    """Return the shares of right answers for trained and untrained products."""
    known: dict[str, Rows] = {}
    for folder in ("trained/train", "trained/val", "novel/enrol"):
        skus, rows = embedded(find_pictures([grocery / folder]))
        for sku in dict.fromkeys(skus):
            own = rows[np.array(skus) == sku]
            known[sku] = np.concatenate([known[sku], own]) if sku in known else own
    table = build_table({k: looks_of(v) for k, v in known.items()}, rows.shape[1], SAFE)
    found = []
    for folder in ("trained/test", "novel/query"):
        skus, rows = embedded(find_pictures([grocery / folder]))
        found.append(_right(table, skus, rows, kept))
    return found[0], found[1]


def _right(table: GroupTable, skus: Sequence[str], rows: Rows, kept: str) -> float:
    everything = np.arange(len(table))
    right = []
    for sku, row in zip(skus, rows, strict=True):
        if kept == "centroid":
            distances = 1.0 - table.centroids @ row
        elif kept == "anchors":
            distances = np.array([1.0 - (table.anchors_of(p) @ row).max() for p in everything])
        else:
            distances = table.refined(row, everything)
        right.append(table.skus[int(np.argmin(distances))] == sku)
    return float(np.mean(right))


def _by_what_is_kept(network: _Network, grocery: Path) -> list[tuple[str, float, float]]:
    kinds = {"centroid": "centroids only", "anchors": "anchors only", "both": "centroids, anchors"}
    return [(label, *_shares(network.embedded, grocery, kept)) for kept, label in kinds.items()]


def _per_department(
    grocery: Path, learnt: Pictures, work: Path, exports: Path, recipe: Recipe
) -> list[tuple[str, float, float]]:
    """Train one network per department, and ask it among its own products only."""
    catalogue = read_catalogue(grocery / "catalog.csv")
    departments = {catalogue[sku].department for sku in learnt}
    totals: dict[str, list[tuple[float, int]]] = {"known": [], "new": []}
    for department in sorted(departments):
        own = {k: v for k, v in learnt.items() if catalogue[k].department == department}
        trained = trained_once(own, work / _folder(department), recipe).embedder
        network = _exported(trained, exports / _folder(department), recipe)

        def embedded(
            pictures: Mapping[str, list[Path]],
            network: _Network = network,
            department: str = department,
        ) -> tuple[list[str], Rows]:
            some = {k: v for k, v in pictures.items() if catalogue[k].department == department}
            return network.embedded(some)

        shares = _shares(embedded, grocery, "both")
        for kind, folder, share in zip(
            totals, ("trained/test", "novel/query"), shares, strict=True
        ):
            asked = labelled(find_pictures([grocery / folder]))
            count = sum(catalogue[sku].department == department for sku, _ in asked)
            totals[kind].append((share, count))
    known, new = (
        float(np.average([s for s, _ in pairs], weights=[n for _, n in pairs]))
        for pairs in totals.values()
    )
    return [("one network per department, the department being known", known, new)]


def _by_numbers(
    network: Embedder, grocery: Path, work: Path, recipe: Recipe
) -> list[tuple[str, float, float]]:
    """Ask a network with weights, and arithmetic, of fewer bits."""
    full = work / "full.onnx", work / "full.xml"
    onnx.save_model(as_onnx(network, recipe.side), str(full[0]))
    ov.save_model(ov.convert_model(str(full[0])), str(full[1]), compress_to_fp16=False)
    forms = {"FP32": full[::-1]}
    for bits, label in ((16, "FP16 weights"), (8, "INT8 weights")):
        forms[label] = export_embedder(network, work / f"b{bits}", side=recipe.side, bits=bits)
    skus, crops = plain(find_pictures([grocery / "trained" / "val"]), recipe.side, recipe.fit)
    small = export_int8(network, work / "int8", list(crops), skus)
    forms["INT8 arithmetic"] = small, small
    return [(label, *_asked(_Network(form, recipe), grocery)) for label, form in forms.items()]
