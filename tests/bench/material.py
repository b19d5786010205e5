"""Where the pictures and the footage lie that benchmarks run on: beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from models.bad_input import BadInput

ROOT = Path(__file__).parents[2]


def shared() -> Path:
    """Return `SHELFGATE_SHARED`, or what lies beside the checkout, whether it is there or not."""
    return Path(os.environ.get("SHELFGATE_SHARED", ROOT.parent / "shared"))


def grocery_pictures() -> Path:
    """Return the folder of the grocery data set. Raises BadInput where it is not there."""
    folder = shared() / "data" / "grocery"
    if not folder.is_dir():
        raise BadInput(f"{folder}: not there: set SHELFGATE_SHARED to the folder that has data/")
    return folder
