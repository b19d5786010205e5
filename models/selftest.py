"""Crops a box decides on before it trusts a bundle: drawn ones, and the bundle's own pictures.

Drawn ones are nobody's pictures and are mostly unknown; of the products whose pictures a bundle
carries some are to be known again. What is expected is what the bundle's maker got; another answer
means that the box computes something else. Boxes may differ by a model's tolerance, so crops that
such a difference could make another decision of are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.asks import Decides, Embeds, Ruling
from models.bundle import FACES, SELF_TESTS, Group

CROPS = 6
"""So many drawn crops, and at most so many of products."""

_TRIED = 4 * CROPS
"""So many of either are looked at."""


def made(
    group: Group, embedder: Embeds, gate: Decides, files: Mapping[str, bytes] | None = None
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return the entries of `selftest/expected.json`, and the drawn crops by path in the bundle.

    files: of the bundle, by their path in it; where there are pictures of products among them,
    those that are accepted as their product are part of the test.
    """
    numbered = ((f"{SELF_TESTS}/{n}.png", drawn(n)) for n in range(_TRIED))
    some = list(islice(_asked(numbered, group, embedder, gate), CROPS))
    shown = (entry for entry, _ in _asked(_pictures(group, files or {}), group, embedder, gate))
    known = (entry for entry in shown if entry["sku"] == PurePosixPath(entry["crop"]).stem)
    crops = {entry["crop"]: cv2.imencode(".png", crop)[1].tobytes() for entry, crop in some}
    return [*(entry for entry, _ in some), *islice(known, CROPS)], crops


def made_of(
    groups: Iterable[tuple[Group, Embeds, Decides]], files: Mapping[str, bytes]
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return what `made` does for several groups of one bundle together."""
    each = [made(group, embedder, gate, files) for group, embedder, gate in groups]
    crops = {name: crop for _, own in each for name, crop in own.items()}
    return list(chain.from_iterable(entries for entries, _ in each)), crops


def drawn(number: int) -> NDArray[np.uint8]:
    """Draw a package-like picture, (h, w, 3) uint8 BGR; each number gives its own."""
    random = np.random.default_rng(number)
    height, width = (int(side) for side in random.integers(60, 200, 2))
    ground, band, mark = ([int(v) for v in random.integers(20, 236, 3)] for _ in range(3))
    crop = np.full((height, width, 3), ground, np.uint8)
    top = int(height * random.uniform(0.2, 0.6))
    cv2.rectangle(crop, (0, top), (width, top + height // 5), band, -1)
    centre = (int(width * random.uniform(0.3, 0.7)), int(height * random.uniform(0.3, 0.8)))
    cv2.circle(crop, centre, min(height, width) // 5, mark, -1, cv2.LINE_AA)
    return crop


def _asked(
    crops: Iterable[tuple[str, NDArray[np.uint8]]], group: Group, embedder: Embeds, gate: Decides
) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
    """Yield the entry of each named crop that is firmly decided, and the crop."""
    for name, crop in crops:
        embedding = embedder.embed([crop])[0]
        found = gate.decide(embedding)
        if _firm(embedding, found, group, gate):
            entry = {
                "crop": name,
                "group": group.name,
                "verdict": str(found.verdict),
                "sku": found.sku,
                "distance": round(found.distance, 6),
            }
            yield entry, crop


def _pictures(group: Group, files: Mapping[str, bytes]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield pictures of a group's products and their names, evenly spread over the products."""
    names = [name for sku in group.table.skus if (name := f"{FACES}/{sku}.jpg") in files]
    for place in np.unique(np.linspace(0, len(names) - 1, min(_TRIED, len(names))).astype(int)):
        crop = cv2.imdecode(np.frombuffer(files[names[place]], np.uint8), cv2.IMREAD_COLOR)
        if crop is not None:
            yield names[place], np.asarray(crop, np.uint8)


def _firm(embedding: NDArray[np.float32], found: Ruling, group: Group, gate: Decides) -> bool:
    """Tell whether the gate finds the same a tolerance nearer to a candidate, and farther off."""
    rows = {sku: row for row, sku in enumerate(group.table.skus)}
    for candidate in found.nearest:
        centroid = group.table.centroids[rows[candidate.sku]]
        for step in (-group.model.tolerance, group.model.tolerance):
            moved = gate.decide(_turned(embedding, centroid, step))
            if (moved.verdict, moved.sku) != (found.verdict, found.sku):
                return False
    return True


def _turned(
    embedding: NDArray[np.float32], centroid: NDArray[np.float32], step: float
) -> NDArray[np.float32]:
    """Return a (D,) embedding turned until its cosine distance to a centroid is greater by step."""
    cosine = float(embedding @ centroid)
    across = embedding - cosine * centroid
    across /= max(float(np.linalg.norm(across)), 1e-6)
    wanted = float(np.clip(cosine - step, -1.0, 1.0))
    turned = wanted * centroid + np.sqrt(1.0 - wanted**2) * across
    return np.asarray(turned / np.linalg.norm(turned), np.float32)
