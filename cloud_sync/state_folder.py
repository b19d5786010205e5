"""Where a program keeps what must be there at its next start, unless it is told."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(name: str) -> Path:
    """Return the folder for a program's state; it may not exist yet.

    What systemd gives a service as its state folder (StateDirectory=), or else name in the user's
    own folder for such things (XDG base directory specification): never the folder one happens to
    stand in, for a database must be the same one at the next start.
    """
    if given := os.environ.get("STATE_DIRECTORY", ""):
        return Path(given.split(":")[0])
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # the specification: a relative one is none
        base = Path(os.path.expanduser("~")) / ".local" / "state"
    return base / name
