"""Where the pictures and the footage lie that tests and benchmarks run on: beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from models.bad_input import BadInput

ROOT = Path(__file__).parents[1]


def shared_folder() -> Path:
    """Return `SHELFGATE_SHARED`, or what lies beside the checkout, whether it is there or not."""
    return Path(os.environ.get("SHELFGATE_SHARED", ROOT.parent / "shared"))


def data_folder() -> Path:
    """Return the folder of footage, pictures and weights, whether it is there or not."""
    shared = shared_folder()
    return shared if (shared / "video").is_dir() else shared / "data"


def grocery_pictures() -> Path:
    """Return the folder of the grocery data set. Raises BadInput where it is not there."""
    folder = data_folder() / "grocery"
    if not folder.is_dir():
        raise BadInput(f"{folder}: not there: set SHELFGATE_SHARED to the folder that has data/")
    return folder
