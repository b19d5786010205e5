"""A shop of two category groups, warm and cold colours, on a small real network."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.embed import open_embedder
from edge.enrolment import with_self_test
from models.bundle import Bundle, Group, Model, Routes
from models.bundle_writer import Draft, write_bundle
from models.catalogue import Catalogue, Product
from models.enrol import enrol
from models.router import router_of
from models.table import GroupTable, Thresholds, build_table
from tests.cloud_sync.a_bundle import DIM, SIDE, a_network

LIMITS = Thresholds(tl=0.25, th=0.6, margin=0.3, anchor_accept=0.3, anchor_margin=0.3)

COLOURS = {
    "apples": (40, 40, 200),
    "cherries": (70, 20, 150),
    "berries": (40, 80, 210),
    "milk": (210, 90, 40),
    "ice": (220, 130, 60),
    "grass": (60, 220, 60),
}
"""BGR of each category; the first three are warm, the next two cold, and grass is neither."""

GROUPS = {"warm": ("apples", "cherries"), "cold": ("milk",)}


def skus_of(category: str, count: int = 3) -> list[str]:
    return [f"{category}-{number}" for number in range(count)]


def picture(sku: str, number: int = 0) -> NDArray[np.uint8]:
    """Draw a product: its category's colour in a pattern of its own, a little noise in each."""
    base = np.array(COLOURS[sku.rsplit("-", 1)[0]], float)
    pattern = np.random.default_rng(zlib.crc32(sku.encode())).uniform(-55, 55, (4, 4, 1))
    noise = np.random.default_rng(number).normal(0, 8, (4, 4, 3))
    small = np.clip(base + pattern + noise, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(small, (48, 48), interpolation=cv2.INTER_NEAREST), np.uint8)


def pictures(folder: Path, skus: Sequence[str], count: int = 4, first: int = 0) -> Path:
    """Write count pictures of each product, others than those of another first."""
    for sku in skus:
        (folder / sku).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            cv2.imwrite(str(folder / sku / f"{number}.png"), picture(sku, number))
    return folder


def catalogue(path: Path, skus: Sequence[str], categories: Mapping[str, str] | None = None) -> Path:
    """Write a catalogue; a product's category is the first part of its sku unless given."""
    lines = ["sku,name,category"]
    for sku in skus:
        category = (categories or {}).get(sku, sku.rsplit("-", 1)[0])
        lines.append(f"{sku},The {sku},{category}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def a_model(folder: Path, name: str = "small", seed: int = 0) -> Model:
    path = folder / "networks" / f"{name}.xml"
    a_network(path, seed=seed)
    return Model(name, path, path.with_suffix(".onnx"), SIDE, DIM, "stretch", frozenset())


def a_grouped_bundle(
    folder: Path,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    *,
    models: Mapping[str, Model] | None = None,
    margin: float | None = 0.0,
) -> Bundle:
    """Write a bundle whose groups know three products of each of their categories.

    models: of each group, where they are not the same. margin: of its router; None for no router.
    """
    shared = None if models else a_model(folder)
    made = []
    for name, categories in groups.items():
        model = models[name] if models else shared
        assert model is not None
        made.append(Group(name, model, _table(model, categories)))
    routes = None
    if margin is not None:
        router = router_of({group.name: group.table for group in made}, margin)
        routes = Routes(made[0].model, router)
    skus = [sku for group in made for sku in group.table.skus]
    products = [Product(sku, f"The {sku}", sku.rsplit("-", 1)[0]) for sku in skus]
    draft = Draft("shop", 1, made, Catalogue(products), {"network": "Apache-2.0"}, {})
    return write_bundle(
        folder / "grouped", with_self_test(replace(draft, routes=routes), open_embedder)
    )


def _table(model: Model, categories: Sequence[str]) -> GroupTable:
    embedder = open_embedder(model)
    table = build_table({}, DIM, LIMITS)
    for sku in [sku for category in categories for sku in skus_of(category)]:
        looks = enrol(sku, [picture(sku, n) for n in range(4)], embedder, table).looks
        table = table.with_products({sku: looks})
    return table
