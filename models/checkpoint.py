"""Keep what a training needs to go on, so that a cut of power costs the pass that was running.

Written beside the old one and moved over it: at any time one of them is whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message says which, why, and what to do."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write state so that path is always whole."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote; tensors and plain values only. Raises CheckpointError."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises whatever strange bytes lead it to
        raise CheckpointError(
            f"{path}: not a checkpoint that can be read; delete it to begin anew"
        ) from error
    return state
