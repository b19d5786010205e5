"""Crops a box decides on before it trusts a bundle, drawn here so that nobody's picture is needed.

What is expected of them is what the bundle's maker got; another answer means that the box computes
something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.asks import Decides, Embeds

CROPS = 6


def made(
    embedder: Embeds, gate: Decides, group: str
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return the entries of `selftest/expected.json`, and the crops by their path in the bundle."""
    entries, files = [], {}
    for number in range(CROPS):
        crop = drawn(number)
        name = f"selftest/{number}.png"
        ruling = gate.decide(embedder.embed([crop])[0])
        entries.append(
            {
                "crop": name,
                "group": group,
                "verdict": str(ruling.verdict),
                "sku": ruling.sku,
                "distance": round(ruling.distance, 6),
            }
        )
        files[name] = cv2.imencode(".png", crop)[1].tobytes()
    return entries, files


def made_of(
    groups: Iterable[tuple[str, Embeds, Decides]],
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return what `made` does for several groups together, each with its name."""
    entries: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for name, embedder, gate in groups:
        own, shown = made(embedder, gate, name)
        entries += own
        files |= shown
    return entries, files


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
