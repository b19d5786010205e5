"""What a product that is known by few pictures lacks against one that is known by many.

The mean of few embeddings lies farther from the next picture of the same product than the mean of
many does: where two pictures have a cosine similarity of s in the mean, the next one and the mean
of n have s / sqrt(s + (1 - s) / n), which grows to sqrt(s). Without making up for it products of
many pictures win what belongs to a newcomer. What only looks like the newcomer lies farther from
such a mean too, though by less; were all made up for, the newcomer would win what belongs to those.
The rest remains a doubt: the product may lie nearer than it seems, and what is named in its place
without review must lead it by as much more. Products known by packshots have a bonus in place of
an allowance (`models.packshots`), and a doubt by the same share. Called by enrolment, refresh and,
for the doubt, by the search. Pure.
"""

from __future__ import annotations

import math

ENOUGH = 24
"""From so many pictures on, what is still lacking is less than distances are good for."""

FAIR = 0.6
"""Share of what is lacking that is made up for: between what look-alikes lack, about a third of it,
and all that the product's own pictures do."""

UNSURE = (1.0 - FAIR) / FAIR
"""The rest of what is lacking, as a share of what is made up for."""


def allowance(pictures: int, usual: float) -> float:
    """Return what distances to a product of so many pictures are to count less by, in [0, 1).

    pictures: how many its centroid is the mean of, at least 1. usual: distance at which a picture
    usually lies from the centroid of many others of its product, in [0, 2]; 0 where unknown.
    """
    if not 0.0 < usual < 1.0:
        return 0.0
    return FAIR * max(0.0, _similarity(ENOUGH, usual) - _similarity(pictures, usual))


def grown(before: float, more: int, usual: float) -> float:
    """Return what is left of an allowance once so many more pictures of the product have come.

    How many there were is read from the allowance itself, which for want of photographs may be one
    for packshots too: those count as few.
    """
    if before <= 0.0:
        return 0.0
    known = next((n for n in range(1, ENOUGH) if allowance(n, usual) <= before), ENOUGH)
    return allowance(known + more, usual)


def _similarity(pictures: int, usual: float) -> float:
    alike = (1.0 - usual) ** 2
    return alike / math.sqrt(alike + (1.0 - alike) / pictures)
