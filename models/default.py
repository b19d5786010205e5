"""Build the default bundle: trunk, projection, table, thresholds.

Each trunk is trained on the products that are photographed (`models.train`), more than once where
that helps, and what comes of it is averaged. One projection then weighs what the trunks see side by
side and what colours there are. Needs the `train` extra. Called by
`shelfgate models build-default`, which hands in the pictures, the device's embedder and the gate.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models import calibrate, selftest
from models.asks import Embeds, MakesGate, embedded
from models.augment import HARSH, changed
from models.backbone import Ensemble, Trunk, licence, open_trunk
from models.bundle import FLOAT_TOLERANCE, INT8_TOLERANCE, Bundle, Group, Model
from models.bundle_writer import Draft, write_bundle
from models.catalogue import Catalogue
from models.crops import fitted
from models.default_settings import Settings
from models.embedder import Embedder
from models.enrol import enrol, looks_of
from models.export import export_onnx
from models.packshots import with_gap
from models.pictures import labelled, read_picture
from models.provenance import code_version, data_digest
from models.quantise import export_int8, spread
from models.recipe import Recipe
from models.table import SAFE, GroupTable, Looks, Thresholds, build_table
from models.train import Trained, Watch, trained_once
from models.train_data import plain
from models.whitening import Projection, Streamed, fit_projection

Pictures = Mapping[str, Sequence[Path]]
Crops = Mapping[str, Sequence[NDArray[np.uint8]]]
Says = Callable[[str], None]

GROUP = "all"
_HARSH_VIEWS = 2
"""Of each picture that thresholds are found with."""


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
    *,
    work: Path,
    watch: Watch | None = None,
) -> Bundle:
    """Make the bundle and write it to destination, replacing one that is there.

    work: folder for what the trainings leave; one that stopped goes on, a finished one is used.
    """
    trained, passes = [], 0
    for number, recipe in enumerate(settings.recipes):
        folder = work / str(number)
        say(f"training {recipe.backbone} on {len(material.train)} products, in {folder}")
        later = _later(watch, passes)
        trained.append(trained_once(material.train, folder, recipe, val=material.val, watch=later))
        passes += recipe.passes
    network = network_of(trained, settings)
    projection = learn_projection(network, material, settings, say)
    network.project_with(torch.from_numpy(projection.weight), torch.from_numpy(projection.bias))
    return bundle_of(destination, network, material, opens, gate, settings, say)


def _later(watch: Watch | None, passes: int) -> Watch | None:
    """Let what is told of a training count the passes before it."""
    if watch is None:
        return None
    return lambda number, batch, batches, loss: watch(passes + number, batch, batches, loss)


def bundle_of(
    destination: Path,
    network: Embedder,
    material: Material,
    opens: Callable[[Model], Embeds],
    gate: MakesGate,
    settings: Settings,
    say: Says,
    *,
    bundle_id: str = "default",
) -> Bundle:
    """Export a network that is trained and projected, enrol, calibrate and write the bundle."""
    name = "-".join(settings.backbones)
    with tempfile.TemporaryDirectory(prefix="shelfgate-") as folder:
        say("exporting to ONNX")
        onnx = _exported(network, Path(folder) / name, material, settings)
        model = Model(
            name=name,
            openvino=onnx,
            onnx=onnx,
            side=settings.side,
            dim=settings.dim,
            fit=settings.fit,
            trained_skus=frozenset(material.train),
            tolerance=INT8_TOLERANCE if settings.int8 else FLOAT_TOLERANCE,
        )
        embedder = opens(model)
        say("calibrating")
        made = calibrated_table(embedder, material, settings)
        table = made.table
        say(json.dumps(asdict(made.calibration)))
        group = Group(GROUP, model, table)
        tests, crops = selftest.made(group, embedder, gate(table))
        draft = Draft(
            bundle_id=bundle_id,
            version=1,
            groups=[group],
            catalogue=Catalogue(material.catalogue[sku] for sku in table.skus),
            licences={
                recipe.backbone: licence(
                    recipe.backbone, pretrained=recipe.pretrained, given=bool(recipe.weights)
                )
                for recipe in settings.recipes
            },
            provenance=_provenance(material, settings, made),
            self_test=tests,
            files={**crops, **{f"licences/{k}": v for k, v in material.licences.items()}},
        )
        return write_bundle(destination, draft, replace=True)


def _exported(network: Embedder, stem: Path, material: Material, settings: Settings) -> Path:
    if not settings.int8:
        return export_onnx(network, stem, side=settings.side, bits=settings.bits)
    skus, crops = plain(material.val, settings.side, settings.fit)
    some = spread(skus)
    return export_int8(network, stem, [crops[i] for i in some], [skus[i] for i in some])


def network_of(trained: Sequence[Trained], settings: Settings) -> Embedder:
    """Take the mean of each member's trunks, and put the members side by side; no projection yet.

    trained: in the order of `settings.recipes`.
    """
    rest = iter(trained)
    trunks = [
        _mean_of([next(rest) for _ in trainings], trainings[0]) for trainings in settings.members
    ]
    weight = settings.recipes[0].colour_weight
    return Embedder(Ensemble(trunks), settings.dim, colour_weight=weight).eval()


def _mean_of(trained: Sequence[Trained], recipe: Recipe) -> Trunk:
    mean = open_trunk(
        recipe.backbone, pretrained=recipe.pretrained, side=recipe.side, blank=True
    ).eval()
    ends = [cast(Trunk, one.embedder.trunk).state_dict() for one in trained]
    means = {k: torch.stack([end[k] for end in ends]).float().mean(dim=0) for k in ends[0]}
    mean.load_state_dict(means)
    return mean


def learn_projection(
    network: Embedder, material: Material, settings: Settings, say: Says
) -> Projection:
    """Whiten by what varies within photographed and drawn products."""
    sets, aside = [], []
    for pictures, weight in ((material.train, 1.0), (material.val, settings.unseen_weight)):
        shown = list(labelled(pictures))
        if shown:
            say(f"features of {len(shown)} photographs")
            found = features(network, (read_picture(path) for _, path in shown), settings)
            sets.append((Streamed(found, np.array([sku for sku, _ in shown])), weight))
    drawn = [(sku, crop) for sku, crops in material.drawn.items() for crop in crops]
    if drawn:
        say(f"features of {len(drawn)} drawn crops")
        found = features(network, (crop for _, crop in drawn), settings)
        names = np.array([sku for sku, _ in drawn])
        aside.append((Streamed(found, names), settings.drawn_weight))
    return fit_projection(
        sets, aside, shrinkage=settings.shrinkage, dim=settings.dim, flatness=settings.flatness
    )


def features(
    network: Embedder, crops: Iterable[NDArray[np.uint8]], settings: Settings, batch: int = 32
) -> Iterator[NDArray[np.float32]]:
    """Yield features of crops, (batch, F) at a time."""
    waiting: list[NDArray[np.uint8]] = []

    def run() -> NDArray[np.float32]:
        with torch.inference_mode():
            found = network.features(torch.from_numpy(np.stack(waiting))).numpy()
        waiting.clear()
        return found

    for crop in crops:
        waiting.append(fitted(crop, settings.side, settings.fit))
        if len(waiting) == batch:
            yield run()
    if waiting:
        yield run()


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A table of all pictures, and how its thresholds were found with one of the training's.

    metrics: what that one knew of the pictures kept back: how many there were, and the shares of
        them whose nearest product was right, as they are and as a bad camera sees them.
    """

    calibration: calibrate.Calibration
    table: GroupTable
    metrics: Mapping[str, float]


def calibrated_table(embedder: Embeds, material: Material, settings: Settings) -> Calibrated:
    """Find thresholds with a table of the training pictures, and make that of all pictures."""
    random = np.random.default_rng(settings.seed + 1)
    train = _embedded(embedder, material.train)
    val = _embedded(embedder, material.val)
    table = _table({k: looks_of(v) for k, v in train.items()}, SAFE, train, settings)
    rows = np.concatenate(list(val.values()))
    skus = [sku for sku, block in val.items() for _ in block]
    rows, skus = _with_harsh_views(embedder, material.val, rows, skus, random)
    photographed = calibrate.Kind(
        calibrate.evidence(table, rows, skus),
        calibrate.evidence(table, rows, skus, without_own=True),
    )
    known, unknown = [], []
    for store in material.stores:
        looks: dict[str, Looks] = {
            sku: enrol(sku, crops, embedder, table, among_equals=True).looks
            for sku, crops in store.enrolled.items()
        }
        whole = table.with_products(looks)
        asked = [(sku, crop) for sku, crops in store.queries.items() for crop in crops]
        rows = embedded(embedder, (crop for _, crop in asked))
        known.append(calibrate.evidence(whole, rows, [sku for sku, _ in asked]))
        strangers = [changed(crop, HARSH, random) for crop in store.unknown]
        rows = embedded(embedder, [*store.unknown, *strangers])
        unknown.append(calibrate.evidence(whole, rows, [""] * len(rows)))
    kinds = [photographed]
    if known:
        kinds.append(calibrate.Kind(calibrate.joined(known), calibrate.joined(unknown)))
    found = calibrate.calibrate(kinds, settings.wanted)
    everything = {
        sku: looks_of(np.concatenate([rows, val[sku]]) if sku in val else rows)
        for sku, rows in train.items()
    }
    whole = _table(everything, found.thresholds, train, settings)
    if material.packshots:
        photographs = np.concatenate(list(val.values()))
        shown = [sku for sku, block in val.items() for _ in block]
        learned = with_gap(table, embedder, material.packshots, photographs, shown)
        whole = replace(whole, gap=learned.gap)
    thresholds = found.thresholds.carried(settings.nearer, settings.least_lead)
    right, plain_ones = photographed.known.second.right, sum(map(len, val.values()))
    metrics = {
        "held_back": plain_ones,
        "right": round(float(right[:plain_ones].mean()), 4),
        "right_harsh": round(float(right[plain_ones:].mean()), 4),
    }
    return Calibrated(found, whole.with_thresholds(thresholds, found.yardstick), metrics)


def _table(
    looks: Mapping[str, Looks], thresholds: Thresholds, trained: Iterable[str], settings: Settings
) -> GroupTable:
    """Make a table in which anchors and trained products count for what the settings say."""
    made = build_table(looks, settings.dim, thresholds)
    told = replace(made.yardstick, anchors=settings.anchors)
    return replace(made, yardstick=told).with_handicap(trained, settings.handicap)


def _with_harsh_views(
    embedder: Embeds,
    pictures: Pictures,
    rows: NDArray[np.float32],
    skus: list[str],
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], list[str]]:
    """Add embeddings of pictures as a bad camera sees them, and what those show.

    Pictures kept back from a training were taken where its own were, and are told apart too easily.
    """
    shown = [(sku, path) for sku, path in labelled(pictures) for _ in range(_HARSH_VIEWS)]
    views = (changed(read_picture(path), HARSH, random) for _, path in shown)
    harsh = embedded(embedder, views)
    return np.concatenate([rows, harsh]), [*skus, *(sku for sku, _ in shown)]


def _embedded(embedder: Embeds, pictures: Pictures) -> dict[str, NDArray[np.float32]]:
    rows = embedded(embedder, (read_picture(path) for _, path in labelled(pictures)))
    blocks, start = {}, 0
    for sku, paths in pictures.items():
        blocks[sku] = rows[start : start + len(paths)]
        start += len(paths)
    return blocks


def _provenance(material: Material, settings: Settings, made: Calibrated) -> dict[str, Any]:
    members = [[recipe.as_plain() for recipe in trainings] for trainings in settings.members]
    plain = {k: v for k, v in asdict(settings).items() if k != "members"}
    return {
        "trunk": f"{' and '.join(settings.backbones)}, ImageNet-1k, "
        f"tuned on {len(material.train)} skus",
        "settings": {**plain, "members": members},
        "calibration": asdict(made.calibration),
        "metrics": dict(made.metrics),
        "data": {"train": data_digest(material.train), "val": data_digest(material.val)},
        "code": code_version(),
        "photographs": sum(map(len, material.train.values())),
        "drawn_products": len(material.drawn),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }
