"""What the tests of all packages share: the footage and pictures that lie beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of footage, pictures and weights; the test is skipped where there is none."""
    shared = Path(os.environ.get("SHELFGATE_SHARED", ROOT.parent / "shared"))
    data = shared if (shared / "video").is_dir() else shared / "data"
    if not (data / "video").is_dir():
        pytest.skip(f"no test footage at {shared}: set SHELFGATE_SHARED to the folder that has it")
    return data
