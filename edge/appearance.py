"""Say of a changed place whether an item left it, came to it, or neither.

Needs no knowledge of products. A thing standing in front of a shelf has its own outline and its own
colours; what is seen once it is gone continues its surroundings. So the picture in which the
region's outline carries edges, and in which its inside is unlike its surroundings, is the one that
holds the item. Behind a front item often stands its like: then one picture can be laid over the
other, and the one in which the thing is larger and its foot lower holds the item. The foot tells
more than the size does, and tells it of a camera that looks down on the board. Pure.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.crops import Place
from edge.cues import colour_evidence, edge_strengths, texture_evidence
from edge.events import Kind
from edge.fit import Fit, fitted
from edge.lighting import lighting

Picture = NDArray[np.uint8]
SAME = 0.96
FLAT = 3.0
EDGE_FLOOR = 5.0
SHADOW_EDGE = 8.0
SAME_TINT = 1.09
CLEAR_RATIO = 1.8
AGAINST = 0.2

# What speaks for a pick, weighed as a logistic regression over simulated picks and returns at
# shelves one to six deep weighs it; each term changes its sign when before and after are swapped.
EDGE_WEIGHT, MOST_EDGE = 5.0, 0.4
COLOUR_WEIGHT, MOST_COLOUR = 13.0, 0.5
TEXTURE_WEIGHT, MOST_TEXTURE = 7.0, 0.5
SIZE_WEIGHT, PRECISE_SIZE_WEIGHT, MOST_SIZE = 31.0, 65.0, 0.1
RISE_WEIGHT, MOST_RISE = 52.0, 0.15

SWITCHED = 0.1
"""From how much more or less light, as a log ratio, a lamp counts as switched."""

DOES_NOT_FIT, FITS = 0.5, 0.7
FITS_WELL = 0.75
PRECISE, EXACT = 0.94, 0.98
SAME_SIZE, UNSURE = 0.02, 0.05
"""Growth, as a log ratio, that is none; more of it where the fit is less good."""
SAME_PLACE = 0.05
LARGEST_GROWTH = 0.15
NEEDED = 0.4
NEEDED_OF_SAME = 5.0


def judge(small: Place, place: Place) -> Kind | None:
    """Say what happened at a place, or None where nothing left and nothing came.

    small, place: the same place, as the small picture shows it and at full resolution; before is in
    the light of after in the small one, and in its own in the other.
    """
    before, after, mask = small.before, small.after, small.mask
    was, now = edge_strengths(before, after, mask)
    floor = SHADOW_EDGE if _only_light(before, after, mask) else EDGE_FLOOR
    if max(was, now) < floor * _light(before, after):
        return None
    if max(was, now) >= CLEAR_RATIO * min(was, now):
        verdict = Kind.PICK if was > now else Kind.RETURN
        colour = colour_evidence(before, after, mask)
        if colour * (1 if verdict is Kind.PICK else -1) > -AGAINST:
            return verdict
    fit = fitted(place.before, place.after, place.inner)
    speaks = _evidence(place, fit, _lamp(small, place))
    if abs(speaks) < _needed(fit):
        return None
    return Kind.PICK if speaks > 0 else Kind.RETURN


def _needed(fit: Fit) -> float:
    """Return how much has to speak for a change.

    Much where both pictures show one thing at one distance: nudged, or in another light. And where
    it fits by a size that no depth of a shelf explains: it has slid along its stripes.
    """
    slid = fit.score >= FITS_WELL and abs(fit.growth) > LARGEST_GROWTH
    return NEEDED_OF_SAME if slid or _unmoved(fit) else NEEDED


def _unmoved(fit: Fit) -> bool:
    size = SAME_SIZE + UNSURE * (1.0 - fit.score)
    return fit.score >= FITS_WELL and abs(fit.growth) < size and abs(fit.rise) < SAME_PLACE


def _evidence(place: Place, fit: Fit, lamp: float) -> float:
    """Return what speaks for a pick; negative where it speaks for a return.

    lamp: how much brighter the light was before, as a log ratio; edges and print follow it.
    """
    before, after, mask = place.before, place.after, place.mask
    was, now = edge_strengths(before, after, mask)
    edges = float(np.log((was + 1.0) / (now + 1.0))) - lamp
    texture = texture_evidence(before, after, mask) - lamp
    evidence = EDGE_WEIGHT * _within(edges, MOST_EDGE)
    evidence += COLOUR_WEIGHT * _within(colour_evidence(before, after, mask), MOST_COLOUR)
    evidence += TEXTURE_WEIGHT * _within(texture, MOST_TEXTURE)
    return evidence + _ramp(fit.score, DOES_NOT_FIT, FITS) * _farther(fit)


def _farther(fit: Fit) -> float:
    """Return what a fit says for the thing being farther away after than before.

    Its foot is the surer sign, but for a camera at the height of the board or below it; there its
    size is, which only the best of fits tells.
    """
    if _unmoved(fit) or abs(fit.growth) > LARGEST_GROWTH:
        return 0.0
    precise = _ramp(fit.score, PRECISE, EXACT)
    size_weight = SIZE_WEIGHT + precise * (PRECISE_SIZE_WEIGHT - SIZE_WEIGHT)
    rise = RISE_WEIGHT * _within(fit.rise, MOST_RISE)
    return rise - size_weight * _within(fit.growth, MOST_SIZE)


def _ramp(value: float, zero: float, one: float) -> float:
    """Return 0 up to zero, 1 from one on, and what lies between in proportion."""
    return min(1.0, max(0.0, (value - zero) / (one - zero)))


def _lamp(small: Place, place: Place) -> float:
    """Return how much brighter the light was before, as a log ratio: one thing seen in both."""
    lights = []
    for seen in (place, small):
        x1, y1, x2, y2 = seen.inner
        lights.append(float(seen.before[y1:y2, x1:x2].mean()) + 1.0)
    lamp = float(np.log(lights[0] / lights[1]))
    return lamp if abs(lamp) > SWITCHED else 0.0


def _within(value: float, most: float) -> float:
    return min(most, max(-most, value))


def _only_light(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> bool:
    """Whether all channels changed alike, as under a shadow."""
    first = np.array(cv2.mean(before, mask)[:3]) + 1.0
    second = np.array(cv2.mean(after, mask)[:3]) + 1.0
    factor = second / first
    return bool(factor.max() < SAME_TINT * factor.min())


def _light(before: Picture, after: Picture) -> float:
    """Return how light the place is, 1 for a well lit one: a dark picture has weaker edges."""
    return lighting(0.5 * float(before.mean() + after.mean()))


def is_same(before: Picture, after: Picture, inner: tuple[int, int, int, int]) -> bool:
    """Say whether a place shows the same structure in both pictures, whatever the light.

    before, after: (h, w, 3) uint8 BGR at full resolution; inner: x1, y1, x2, y2 of the place.
    """
    x1, y1, x2, y2 = inner
    first, second = (
        cv2.GaussianBlur(picture, (0, 0), 1.0)[y1:y2, x1:x2] for picture in (before, after)
    )
    if min(first.shape[:2]) < 4:
        return True
    if min(float(seen.std(axis=(0, 1)).max()) for seen in (first, second)) < FLAT:
        return False
    return float(cv2.matchTemplate(first, second, cv2.TM_CCOEFF_NORMED)[0, 0]) > SAME
