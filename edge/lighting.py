"""How well lit a picture is: in a dark one all differences and edges are weaker. Pure."""

from __future__ import annotations

WELL_LIT = 150.0
"""Mean grey level from which a picture counts as well lit."""

DARKEST = 0.35
"""No picture counts as less well lit, or its noise would count as change."""


def lighting(level: float) -> float:
    """Return how well lit a picture of mean grey level `level`, 0 to 255, is: DARKEST to 1."""
    return min(1.0, max(DARKEST, level / WELL_LIT))
