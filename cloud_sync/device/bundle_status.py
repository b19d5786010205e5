"""How far a wished-for bundle is, in the words of the page and of the hub. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloud_sync.messages import State, is_name

MOST_DIGITS = 9
PACKAGED = "packaged"
"""What the bundle that came with the package can always be asked for by."""

Phase = Literal["idle", "fetching", "testing", "probation", "committed", "refused", "rolled_back"]

STATES: dict[Phase, State] = {
    "idle": "running",
    "fetching": "downloading",
    "testing": "installing",
    "probation": "probation",
    "committed": "running",
    "refused": "failed",
    "rolled_back": "failed",
}
"""What the hub is told of each phase."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the bundles are, for the page.

    phase, bundle: of what the hub wants, "name version". reason: for a person, empty where all is
    well.
    share: of what has to be fetched that is there, in [0, 1].
    """

    phase: Phase = "idle"
    bundle: str | None = None
    reason: str = ""
    share: float = 0.0


def label(bundle: str, version: int) -> str:
    """Write a bundle's name and version as wishes and reports do."""
    return f"{bundle} {version}"


def parsed(text: str) -> tuple[str, int]:
    """Read "name version". Raises ValueError where it is none."""
    bundle, _, version = text.rpartition(" ")
    if not is_name(bundle) or not version.isdecimal() or len(version) > MOST_DIGITS:
        raise ValueError(f"{text[:100]!r} is no bundle's name and version")
    return bundle, int(version)
