"""Say of a changed place whether an item left it, came to it, or neither.

Needs no knowledge of products. A thing standing in front of a shelf has its own outline and its own
colours; what is seen once it is gone continues its surroundings. So the picture in which the
region's outline carries edges, and in which its inside is unlike its surroundings, is the one that
holds the item. Behind a front item often stands its like: then the two pictures differ in size and
light alone, and the larger, brighter one holds the item. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events import Kind
from edge.lighting import lighting

Picture = NDArray[np.uint8]
SCALES = np.round(np.arange(0.82, 1.221, 0.02), 3)
SAME = 0.96
FLAT = 3.0
EDGE_FLOOR = 5.0
SHADOW_EDGE = 8.0
SAME_TINT = 1.09
CLEAR_RATIO = 1.8

# What speaks for a pick, weighed as a logistic regression over simulated picks and returns at
# shelves one to six deep weighs it; each term changes its sign when before and after are swapped.
EDGE_WEIGHT, MOST_EDGE = 4.0, 1.5
COLOUR_WEIGHT, MOST_COLOUR = 2.5, 0.5
LIGHT_WEIGHT, MOST_LIGHT = 1.3, 0.3
SIZE_WEIGHT, MOST_SIZE = 18.0, 0.1
TEXTURE_WEIGHT, MOST_TEXTURE = 7.0, 1.0

# How much must speak for it, by how like each other the two pictures are.
FITS = 0.6
SIMILAR = 0.85
ALIKE = 0.95
TWINS = 0.985
NUDGED = 0.021
RELIT = 0.04
SHADOWED = 0.25
SHADED = 0.12
"""More light than this, as log ratios, no depth of a shelf takes from a like item behind, and from
one that looks no smaller."""
NEEDED = 0.6
NEEDED_OF_TWINS = 1.6
NEEDED_OF_NUDGED = 1.3
NEEDED_OF_NUDGED_TWINS = 2.6


@dataclass(frozen=True, slots=True)
class Likeness:
    """How well one picture of a place can be laid over another.

    score: normalised cross-correlation in [-1, 1] at the best fit.
    scale: size of the second picture's content over the first's. brightness: light of the second
    over the first.
    """

    score: float
    scale: float
    brightness: float


def judge(
    before: Picture, after: Picture, mask: NDArray[np.uint8], inner: tuple[int, int, int, int]
) -> Kind | None:
    """Say what happened at a place, or None where nothing left and nothing came.

    before, after: (h, w, 3) uint8 BGR of the place with surroundings. mask: (h, w) uint8, 255 where
    they differ. inner: x1, y1, x2, y2 of the place in them.
    """
    was, now = edge_strengths(before, after, mask)
    colour = colour_evidence(before, after, mask)
    floor = SHADOW_EDGE if _only_light(before, after, mask) else EDGE_FLOOR
    strong = max(was, now) >= floor * _light(before, after)
    if strong and max(was, now) >= CLEAR_RATIO * min(was, now):
        verdict = Kind.PICK if was > now else Kind.RETURN
        if colour * (1 if verdict is Kind.PICK else -1) > -0.2:
            return verdict
    if not strong:
        return None
    like = likeness(before, after, inner)
    if _is_shadow(like):
        return None
    weight = EDGE_WEIGHT * _within(float(np.log((was + 1.0) / (now + 1.0))), MOST_EDGE)
    weight += COLOUR_WEIGHT * _within(colour, MOST_COLOUR)
    weight += TEXTURE_WEIGHT * _within(texture_evidence(before, after, mask), MOST_TEXTURE)
    weight += LIGHT_WEIGHT * _believed(light_evidence(before, after, mask), MOST_LIGHT)
    if like.score > FITS:
        weight -= SIZE_WEIGHT * _believed(float(np.log(like.scale)), MOST_SIZE)
    if abs(weight) < _needed(like):
        return None
    return Kind.PICK if weight > 0 else Kind.RETURN


def _is_shadow(like: Likeness) -> bool:
    """Whether two like pictures differ by more light than their sizes explain."""
    relit = abs(float(np.log(like.brightness)))
    same_size = abs(like.scale - 1.0) <= NUDGED
    return like.score > SIMILAR and relit > (SHADED if same_size else SHADOWED)


def _needed(like: Likeness) -> float:
    """Return how much evidence it takes to call a change an item, not a nudge or a lamp."""
    if abs(like.scale - 1.0) <= NUDGED and abs(float(np.log(like.brightness))) < RELIT:
        return NEEDED_OF_NUDGED_TWINS if like.score >= ALIKE else NEEDED_OF_NUDGED
    return NEEDED_OF_TWINS if like.score >= TWINS else NEEDED


def _within(value: float, most: float) -> float:
    return min(most, max(-most, value))


def _believed(value: float, most: float) -> float:
    """Return value, or 0 where it is larger than any depth of a shelf explains."""
    return value if abs(value) < most else 0.0


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
    if min(float(first.std()), float(second.std())) < FLAT:
        return False
    return float(cv2.matchTemplate(first, second, cv2.TM_CCOEFF_NORMED)[0, 0]) > SAME


def likeness(before: Picture, after: Picture, inner: tuple[int, int, int, int]) -> Likeness:
    """Fit the inside of before into after.

    before, after: (h, w, 3) uint8 BGR of the same place with surroundings. inner: x1, y1, x2, y2 of
    the place within them.
    """
    x1, y1, x2, y2 = inner
    zoom = 64.0 / max(x2 - x1, y2 - y1, 1)
    first = cv2.resize(before, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    second = cv2.resize(after, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (round(value * zoom) for value in inner)
    patch = first[y1:y2, x1:x2]
    if min(patch.shape[:2]) < 8:
        return Likeness(0.0, 1.0, 1.0)
    best = (-1.0, 1.0)
    there = second[y1:y2, x1:x2]
    for scale in SCALES:
        template = cv2.resize(patch, None, fx=float(scale), fy=float(scale))
        if template.shape[0] > second.shape[0] or template.shape[1] > second.shape[1]:
            continue
        scores = cv2.matchTemplate(second, template, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(scores)
        if score > best[0] + 0.004:
            best = (float(score), float(scale))
            there = second[y : y + template.shape[0], x : x + template.shape[1]]
    if best[0] < ALIKE:
        there = second[y1:y2, x1:x2]
    brightness = float((there.mean() + 1) / (patch.mean() + 1))
    return Likeness(best[0], best[1], brightness)


def edge_strengths(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> tuple[float, float]:
    """Return how strong the edges along a region's outline are in each picture, in grey levels."""
    width = max(2, round(min(mask.shape) / 30))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    filled = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    band = (cv2.dilate(filled, kernel) > 0) & (cv2.erode(filled, kernel) == 0)
    if not band.any():
        return 0.0, 0.0
    strength = []
    for picture in (before, after):
        smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.25)
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.25)
        strength.append(float(cv2.magnitude(dx, dy).max(axis=2)[band].mean()))
    return strength[0], strength[1]


def texture_evidence(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> float:
    """Return by how much finer and crisper the inside is before than after, as a log ratio.

    Of two like items the one in front shows its print larger and better lit.
    """
    strength = []
    for picture in (before, after):
        grey = cv2.GaussianBlur(_grey(picture), (0, 0), 1.0)
        fine = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
        strength.append(float(fine[mask > 0].mean()) + 0.2)
    return float(np.log(strength[0] / strength[1]))


def light_evidence(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> float:
    """Return by how much brighter the inside is before than after, against its surroundings."""
    greys = [_grey(picture) for picture in (before, after)]
    darker = []
    for where in (mask > 0, _ring(mask, 1 / 10)):
        if not where.any():
            darker.append(0.0)
            continue
        was, now = (float(grey[where].mean()) + 1.0 for grey in greys)
        darker.append(float(np.log(was / now)))
    return darker[0] - darker[1]


def _ring(mask: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Return what surrounds a region, as far as this share of the picture's smaller side."""
    width = max(3, round(min(mask.shape) * share))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray((cv2.dilate(mask, kernel) > 0) & (mask == 0))


def _grey(picture: Picture) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)


def colour_evidence(before: Picture, after: Picture, mask: NDArray[np.uint8]) -> float:
    """Return in which picture the inside is less like its surroundings: 1 before, -1 after."""
    inside, ring = mask > 0, _ring(mask, 1 / 12)
    if inside.sum() < 20 or ring.sum() < 20:
        return 0.0
    unlike = []
    for picture in (before, after):
        lab = cv2.cvtColor(cv2.GaussianBlur(picture, (0, 0), 1.0), cv2.COLOR_BGR2Lab)
        histograms = [
            cv2.calcHist([lab], [0, 1, 2], where.astype(np.uint8), [12, 12, 12], [0, 256] * 3)
            for where in (inside, ring)
        ]
        smooth = [
            np.asarray(histogram / max(float(histogram.sum()), 1.0), np.float32)
            for histogram in histograms
        ]
        unlike.append(float(cv2.compareHist(smooth[0], smooth[1], cv2.HISTCMP_BHATTACHARYYA)))
    return (unlike[0] - unlike[1]) / (unlike[0] + unlike[1] + 1e-6)
