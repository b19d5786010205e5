"""The goods of a simulated store: what they are called, cost, measure and look like.

Invented goods are drawn by seed. Some come in families that share everything but the flavour: the
look-alikes. `products_from` takes a shop's own pictures instead.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.simulate.settings import Settings, SimulationError
from edge.simulate.words import (
    BRANDS,
    DEPARTMENT,
    FLAVOURS,
    GOODS,
    GROUNDS,
    INKS,
    Colour,
    luminance,
)

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

# width, height and depth in metres, each with how far it varies
MEASURES = {
    "box": ((0.105, 0.025), (0.185, 0.035), (0.055, 0.010)),
    "carton": ((0.072, 0.008), (0.195, 0.025), (0.062, 0.004)),
    "bottle": ((0.066, 0.007), (0.215, 0.025), (0.066, 0.000)),
    "can": ((0.070, 0.006), (0.105, 0.025), (0.070, 0.000)),
    "jar": ((0.070, 0.006), (0.105, 0.020), (0.070, 0.000)),
    "bag": ((0.125, 0.020), (0.180, 0.030), (0.058, 0.008)),
    "duck": ((0.105, 0.010), (0.110, 0.010), (0.070, 0.000)),
    "bear": ((0.110, 0.010), (0.165, 0.015), (0.070, 0.000)),
    "robot": ((0.110, 0.008), (0.165, 0.015), (0.062, 0.000)),
    "rings": ((0.095, 0.008), (0.150, 0.015), (0.075, 0.000)),
    "ball": ((0.095, 0.010), (0.095, 0.010), (0.075, 0.000)),
}
SHAPES = (
    "box", "carton", "bottle", "box", "bag", "can", "bottle", "jar", "box", "bag", "carton", "duck",
    "bottle", "box", "bear", "bag", "can", "robot", "carton", "rings", "jar", "ball",
)  # fmt: skip
TOYS = frozenset(shape for shape, department in DEPARTMENT.items() if department == "Toys")
"""Without print: two in one colour are one thing to the eye, whoever makes them."""
FAMILY_SHAPES = ("box", "carton", "bottle", "can", "jar", "bag")


@dataclass(frozen=True, slots=True)
class Design:
    """How a package looks. Measures in metres; picture is set where a shop's own one is drawn."""

    shape: str
    width: float
    height: float
    depth: float
    brand: str
    goods: str
    flavour: str
    band: Colour
    ground: Colour
    ink: Colour
    layout: int
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the store.

    known: it is in the catalogue. family: number shared by look-alikes, None where it has none.
    """

    sku: str
    name: str
    category: str
    department: str
    price_minor: int
    known: bool
    family: int | None
    design: Design


def products_for(settings: Settings) -> tuple[Product, ...]:
    """Return the store's goods, known ones first.

    Raises SimulationError where the pictures asked for are missing or too few.
    """
    count = settings.skus + settings.unknown
    rng = np.random.default_rng([settings.seed, 11])
    if settings.products is not None:
        drawn = products_from(settings.products, rng)
        if len(drawn) < 2 + settings.unknown:
            raise SimulationError(
                f"{settings.products}: {len(drawn)} products with pictures, needs at least "
                f"{2 + settings.unknown} (unknown ones included)"
            )
        chosen = drawn[: min(count, len(drawn))]
    else:
        chosen = _invented(count, settings.lookalikes, settings.unknown, rng)
    known = len(chosen) - settings.unknown
    return tuple(
        product if index < known else _unlisted(product) for index, product in enumerate(chosen)
    )


def _unlisted(product: Product) -> Product:
    return Product(
        f"unlisted-{product.sku}", product.name, product.category, product.department,
        product.price_minor, False, None, product.design,
    )  # fmt: skip


def _invented(
    count: int, lookalikes: bool, unknown: int, rng: np.random.Generator
) -> list[Product]:
    designs: list[tuple[int | None, Design]] = []
    looks: set[tuple[str, str, Colour]] = set()
    family = 0
    while len(designs) < count:
        in_family = lookalikes and len(designs) + 3 < count - unknown and rng.random() < 0.22
        shapes = FAMILY_SHAPES if in_family else SHAPES
        first = _design(shapes[int(rng.integers(len(shapes)))], rng, looks)
        if not in_family:
            designs.append((None, first))
            continue
        size = int(rng.integers(2, 4))
        for flavour in _distinct_flavours(first, size, rng):
            designs.append((family, _in_flavour(first, flavour)))
        family += 1
    return [_product(design, group, rng) for group, design in designs[:count]]


def _design(shape: str, rng: np.random.Generator, looks: set[tuple[str, str, Colour]]) -> Design:
    measures = [middle + spread * float(rng.uniform(-1, 1)) for middle, spread in MEASURES[shape]]
    if MEASURES[shape][2][1] == 0.0:
        measures[2] = min(measures[0], MEASURES[shape][2][0])
    for _ in range(200):
        brand = BRANDS[int(rng.integers(len(BRANDS)))]
        ground = GROUNDS[int(rng.integers(len(GROUNDS)))]
        flavour, band = FLAVOURS[int(rng.integers(len(FLAVOURS)))]
        if shape in TOYS:
            look = (shape, "", band)
        else:
            look = (shape, brand if len(looks) < 200 else str(len(looks)), ground)
        if look not in looks and _apart(ground, band) > 110:
            break
    else:
        if shape in TOYS:
            return _design("box", rng, looks)
    looks.add(look)
    inks = [ink for ink in INKS if abs(luminance(ink) - luminance(ground)) > 90]
    goods = GOODS[shape][int(rng.integers(len(GOODS[shape])))]
    return Design(
        shape, measures[0], measures[1], measures[2], brand, goods, flavour, band, ground,
        inks[int(rng.integers(len(inks)))], int(rng.integers(1 << 30)),
    )  # fmt: skip


def _apart(first: Colour, second: Colour) -> int:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


def _distinct_flavours(
    first: Design, size: int, rng: np.random.Generator
) -> list[tuple[str, Colour]]:
    chosen = [(first.flavour, first.band)]
    for index in rng.permutation(len(FLAVOURS)):
        flavour = FLAVOURS[int(index)]
        apart = all(_apart(flavour[1], other[1]) > 160 for other in chosen)
        if len(chosen) < size and apart and _apart(flavour[1], first.ground) > 110:
            chosen.append(flavour)
    return chosen


def _in_flavour(design: Design, flavour: tuple[str, Colour]) -> Design:
    return Design(
        design.shape, design.width, design.height, design.depth, design.brand, design.goods,
        flavour[0], flavour[1], design.ground, design.ink, design.layout,
    )  # fmt: skip


def _product(design: Design, family: int | None, rng: np.random.Generator) -> Product:
    name = f"{design.brand} {design.goods} {design.flavour}"
    sku = f"{name.lower().replace(' ', '-')}-{int(rng.integers(1000, 9999))}"
    price = int(rng.integers(8, 120)) * 10 + 9
    department = DEPARTMENT.get(design.shape, "Groceries")
    return Product(sku, name, design.shape, department, price, True, family, design)


def products_from(folder: Path, rng: np.random.Generator) -> list[Product]:
    """Return one product a picture file or a folder of pictures, sorted by sku and shuffled by rng.

    A catalog.csv in the folder or beside it gives names, categories and prices.
    Raises SimulationError where the folder is missing or holds no pictures.
    """
    if not folder.is_dir():
        raise SimulationError(f"{folder}: no such folder of product pictures")
    pictures: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        files = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        fitting = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
        if fitting:
            pictures[entry.name if entry.is_dir() else entry.stem] = fitting[0]
    if not pictures:
        raise SimulationError(f"{folder}: holds no <sku>.jpg and no <sku>/*.jpg")
    rows = _catalogue_rows(folder)
    products = []
    for sku in [sorted(pictures)[int(i)] for i in rng.permutation(len(pictures))]:
        row = rows.get(sku, {})
        name = row.get("name") or sku.replace("-", " ").title()
        price = row.get("price_minor") or ""
        products.append(
            Product(
                sku, name, row.get("category") or "Packages", row.get("department") or "Groceries",
                int(price) if price.isdigit() else int(rng.integers(8, 120)) * 10 + 9, True, None,
                Design(
                    "picture", 0.1, 0.2, 0.062, name, name, "", (0, 0, 0), (0, 0, 0), (0, 0, 0), 0,
                    pictures[sku],
                ),
            )
        )  # fmt: skip
    return products


def _catalogue_rows(folder: Path) -> dict[str, dict[str, str]]:
    for path in (folder / "catalog.csv", folder.parent / "catalog.csv"):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as lines:
                return {row["sku"]: row for row in csv.DictReader(lines) if row.get("sku")}
    return {}
