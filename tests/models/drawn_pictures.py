"""Pictures of drawn products on disk, as a shop takes them: to learn from and to ask with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from models.augment import MILD, changed
from models.selftest import drawn


def put_pictures(
    folder: Path,
    products: Mapping[str, int],
    count: int,
    random: np.random.Generator,
    prefix: str = "",
) -> None:
    """Write pictures of products, each in a folder of its name.

    products: the number of the drawn product that each shows. prefix: of the files' names.
    """
    for sku, number in products.items():
        (folder / sku).mkdir(parents=True, exist_ok=True)
        for view in range(count):
            picture = changed(drawn(number), MILD, random)
            cv2.imwrite(str(folder / sku / f"{prefix}{view}.png"), picture)
