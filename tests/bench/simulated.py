"""Run the pipeline over one simulated store, with and without the detector.

Everything about a store follows from its seed, so that twenty seeds are twenty difficulties. Made
to be called in a process of its own; gives plain data that JSON can hold.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2

from edge.config import CameraSettings, DetectorSettings, default
from edge.embed import Recogniser, open_embedder
from edge.enrolment import enrol_products
from edge.frame import Frame
from edge.pipeline import CameraPipeline, build
from edge.replay import as_line
from edge.simulate.enrolment import pictures_of
from edge.simulate.scene import point
from edge.simulate.settings import Angle, Lighting, Occlusion, Settings
from edge.simulate.store import SimulatedStore
from edge.zones import Zone, polygon_of
from models.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from models.bundle_writer import write_bundle
from models.catalogue import Product

MODES = {"with_detector": DetectorSettings(), "without_detector": DetectorSettings(enabled=False)}
SKUS = 40
NOWHERE = "0"
"""The source of a camera that is fed by hand: a device, since it is no recording."""

Outcome = dict[str, Any]


def settings_for(seed: int, minutes: float) -> Settings:
    """Return the store of a seed: lighting, occlusion, hands, angle and look-alikes go round."""
    return Settings(
        seed=seed,
        minutes=minutes,
        shoppers=max(1, round(minutes)),
        skus=SKUS,
        lighting=list(Lighting)[seed % 5],
        occlusion=list(Occlusion)[seed % 3],
        hands=1 + seed % 2,
        angle=(Angle.FRONT, Angle.ABOVE)[seed // 2 % 2],
        lookalikes=seed // 5 % 4 != 3,
    )


def run_seed(
    seed: int,
    minutes: float,
    advance: Callable[[int], None] = lambda frames: None,
    modes: Mapping[str, DetectorSettings] = MODES,
) -> Outcome:
    """Return what happened in a store and what the pipeline made of it.

    advance: told how many further frames are done. modes: the detector of each pipeline, by name.
    """
    started = time.perf_counter()
    settings = settings_for(seed, minutes)
    store = SimulatedStore(settings)
    with tempfile.TemporaryDirectory(prefix="shelfgate-bench-") as folder:
        bundle = enrolled(store, Path(folder))
        found = _found(store, bundle, advance, modes)
    return {
        "seed": seed,
        "minutes": minutes,
        "lighting": str(settings.lighting),
        "occlusion": str(settings.occlusion),
        "angle": str(settings.angle),
        "hands": settings.hands,
        "truth": store.truth(),
        "acts": [
            {"act": str(reach.act), "start_s": reach.start_s, "end_s": reach.end_s}
            for reach in store.plan.reaches
        ],
        "found": found,
        "wall_s": round(time.perf_counter() - started, 1),
    }


def enrolled(store: SimulatedStore, folder: Path) -> Bundle:
    """Return a bundle in folder that knows the store's catalogue and nothing else."""
    pictures = _pictures(store, folder / "products")
    products = {
        one.sku: Product(one.sku, one.name, one.category, price_minor=one.price_minor)
        for one in store.catalogue
    }
    base = load_bundle(DEFAULT_BUNDLE)
    draft, _ = enrol_products(base, cache(open_embedder), products, pictures.items(), fresh=True)
    return write_bundle(folder / "bundle", draft)


def _pictures(store: SimulatedStore, folder: Path) -> Mapping[str, list[Path]]:
    """Write the enrolment pictures as a provider sends them: JPEG files, a folder a product."""
    scale = store.view(store.cameras[0]).camera.scale(point(0.0, 0.5, 0.05))
    written: dict[str, list[Path]] = {}
    for product in store.catalogue:
        (folder / product.sku).mkdir(parents=True)
        for name, picture in pictures_of(product, store.goods, scale, store.settings.seed):
            path = folder / product.sku / f"{name}.jpg"
            cv2.imwrite(str(path), picture)
            written.setdefault(product.sku, []).append(path)
    return written


def _found(
    store: SimulatedStore,
    bundle: Bundle,
    advance: Callable[[int], None],
    modes: Mapping[str, DetectorSettings],
) -> dict[str, list[dict[str, Any]]]:
    """Feed every frame to a pipeline of each mode; return their events."""
    recogniser = Recogniser(bundle)
    pipelines = {
        (mode, camera): _pipeline(store, camera, detector, bundle, recogniser)
        for mode, detector in modes.items()
        for camera in store.cameras
    }
    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
    for number, (time_s, pictures) in enumerate(store.frames()):
        for (mode, camera), stages in pipelines.items():
            decided = stages.feed(Frame(pictures[camera], time_s, camera, number))
            found[mode] += [as_line(one, ()) for one in decided]
        if number % 15 == 14:
            advance(15)
    for (mode, _), stages in pipelines.items():
        found[mode] += [as_line(one, ()) for one in stages.finish()]
    return found


def _pipeline(
    store: SimulatedStore,
    camera: str,
    detector: DetectorSettings,
    bundle: Bundle,
    recogniser: Recogniser,
) -> CameraPipeline:
    config = replace(default(), detector=detector)
    zones = tuple(
        Zone(zone["id"], polygon_of(zone["polygon"]), tuple(zone["groups"]))
        for zone in store.zones()[camera]
    )
    settings = CameraSettings(camera, NOWHERE, zones=zones)
    return build(config, settings, bundle, recogniser)
