"""What it takes to enrol a product on a CPU: from a packshot, and from few or many pictures.

The default bundle's network; reading the pictures, the views that are made up where there are few,
and the search for outliers and look-alikes among them. Pictures are drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.embed import Embedder, open_embedder
from edge.enrolment import enrol_products
from models.augment import MILD, changed
from models.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from models.catalogue import Product
from models.selftest import drawn
from tests.bench.results import table

COUNTS = (5, 12, 40)
ROUNDS = 5
WANTED_S = 1.0

_ENOUGH = 12
"""Pictures up to which a product is to be there in time; of more, what each costs is told."""

_SIDE = 640
"""Pixels of a picture, as a provider might send it."""


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure; seconds a product, of which the best tells most where others use the machine.

    The first product of a command waits for the network to be compiled, and is not counted.
    """
    bundle = load_bundle(DEFAULT_BUNDLE)
    embedder = open_embedder(bundle.groups[0].model)
    asked = [("a packshot", 1), *((f"{count} pictures", count) for count in COUNTS)]
    with tempfile.TemporaryDirectory(prefix="shelfgate-enrol-") as folder:
        rows = [_measure(Path(folder), bundle, embedder, *kind, rounds) for kind in asked]
    short = [
        f"enrolling from {row['from']} takes {row['best_s']} s, {WANTED_S} s is wanted"
        for row in rows
        if row["pictures"] <= _ENOUGH and row["best_s"] >= WANTED_S
    ]
    return {"rounds": rounds, "rows": rows, "short_of": short}


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    head = ("from", f"best of {figures['rounds']}, s", "median, s", "ms a picture")
    rows = [
        (row["from"], row["best_s"], row["median_s"], round(1000 * row["best_s"] / row["pictures"]))
        for row in figures["rows"]
    ]
    return table(head, rows)


def _measure(
    folder: Path, bundle: Bundle, embedder: Embedder, name: str, count: int, rounds: int
) -> dict[str, Any]:
    made = _packshot if count == 1 else _photograph
    paths = []
    for number in range(count):
        paths.append(folder / f"{name}-{number}.jpg")
        cv2.imwrite(str(paths[-1]), made(number))
    shown = {f"new-{number}": paths for number in range(rounds + 1)}
    catalogue = {sku: Product(sku, sku, "Things") for sku in shown}
    _, reports = enrol_products(
        bundle, lambda model: embedder, catalogue, shown.items(), fresh=True
    )
    taken = [report.seconds for report in reports[1:]]
    return {
        "from": name,
        "pictures": count,
        "best_s": round(min(taken), 3),
        "median_s": round(median(taken), 3),
    }


def _photograph(number: int) -> NDArray[np.uint8]:
    view = changed(drawn(20), MILD, np.random.default_rng(number))
    return cv2.resize(view, (_SIDE, _SIDE)).astype(np.uint8)


def _packshot(number: int) -> NDArray[np.uint8]:
    shot = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    inner = slice(_SIDE // 4, _SIDE // 4 * 3)
    shot[inner, inner] = cv2.resize(drawn(20 + number), (_SIDE // 2, _SIDE // 2))
    return shot
