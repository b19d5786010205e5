"""Find the places where a settled shelf differs from what it was.

A place is reported once it and its surroundings lie still, so that a hand that is still there is
waited for. Pure: masks in, regions out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.planes import mask_of

Mask = NDArray[np.uint8]
RESTLESS_PERCENT = 3
BORDER_SHARE = 0.15
EDGE = 2
NEAR = 6
FLAT, UNDER = 1.5, 0.25
CORE_SHARE = 0.4
CORE_PERCENTILE = 70
SMALLEST_PART = 0.2
WINDOW = 9
PLAIN = 2.5


@dataclass(frozen=True, slots=True)
class Region:
    """A connected place that has changed.

    box: x1, y1, x2, y2 in pixels of the small picture, x2 and y2 exclusive.
    mask: (h, w) uint8 of the whole small picture, 255 inside.
    area: changed pixels.
    calm_s: how long it and its surroundings have been still.
    at_border: whether it reaches the edge of the picture, as an arm does.
    """

    box: tuple[int, int, int, int]
    mask: Mask
    area: int
    calm_s: float
    at_border: bool

    def near(self, other: Region) -> bool:
        """Whether another region's box touches or overlaps this one's."""
        return other is not self and all(
            min(self.box[i + 2], other.box[i + 2]) + NEAR >= max(self.box[i], other.box[i])
            for i in (0, 1)
        )

    def below(self, arm: Region) -> bool:
        """Whether this is a flat strip with an arm above it: the foot of what the hand holds."""
        x1, y1, x2, y2 = self.box
        shared = min(x2, arm.box[2]) - max(x1, arm.box[0])
        flat = x2 - x1 >= FLAT * (y2 - y1)
        return flat and shared >= UNDER * (x2 - x1) and arm.box[3] <= y1 + NEAR

    @property
    def box_area(self) -> int:
        """Pixels of the box."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def find_regions(changed: Mask, calm_s: NDArray[np.float32], min_area: int) -> list[Region]:
    """Return the changed regions of at least min_area pixels, largest first.

    changed: (h, w) uint8, 255 where a settled or unsettled pixel differs from the reference.
    calm_s: (h, w) float32, seconds since each pixel last moved.
    """
    height, width = changed.shape
    reach = max(3, width // 48) | 1
    solid = cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    count, labels, stats = components(joined)
    regions = []
    for label in range(1, count):
        x, y, w, h = (int(value) for value in stats[label, :4])
        here = (slice(y, y + h), slice(x, x + w))
        mask = np.zeros(solid.shape, np.uint8)
        cv2.copyTo(solid[here], mask_of(labels[here] == label), mask[here])
        area = cv2.countNonZero(mask)
        if area < min_area:
            continue
        pad = max(3, reach // 2, round(0.05 * max(w, h)))
        top, left = max(0, y - pad), max(0, x - pad)
        bottom, right = min(height, y + h + pad), min(width, x + w + pad)
        near = cv2.dilate(
            mask_of(labels[top:bottom, left:right] == label),
            np.ones((2 * pad + 1, 2 * pad + 1), np.uint8),
        )
        calm = float(np.percentile(calm_s[top:bottom, left:right][near > 0], RESTLESS_PERCENT))
        border = _reaches_edge(mask, area)
        regions.append(Region((x, y, x + w, y + h), mask, area, calm, border))
    return sorted(regions, key=lambda region: -region.area)


def components(mask: NDArray[Any]) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Return how many labels there are, 0 included, the labels, (h, w), and cv2's stats, (n, 5).

    mask: (h, w) uint8. Only where there is something is looked at, mostly a small part. OpenCV
    numbers by blocks of two by two pixels: from an even row and column on, as in the whole picture.
    The stats of label 0, what is in no component, are those of the part.
    """
    labels = np.zeros(mask.shape, np.int32)
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return 1, labels, np.zeros((1, 5), np.int32)
    left, top = x & ~1, y & ~1
    here = (slice(top, y + h), slice(left, x + w))
    count, found, several, _ = cv2.connectedComponentsWithStats(mask[here], connectivity=8)
    labels[here] = found
    stats = np.asarray(several, np.int32)
    stats[:, cv2.CC_STAT_LEFT] += left
    stats[:, cv2.CC_STAT_TOP] += top
    return count, labels, stats


def together(regions: list[Region]) -> list[Region]:
    """Join regions that lie above or beside each other with hardly a gap.

    They may be parts of one thing; `cores` takes apart what is not.
    """
    joined: list[Region] = []
    for region in regions:
        for index, other in enumerate(joined):
            if _adjoin(region.box, other.box):
                joined[index] = _union(other, region)
                break
        else:
            joined.append(region)
    return joined


def _adjoin(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    shared = [min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1)]
    narrow = [min(first[i + 2] - first[i], second[i + 2] - second[i]) for i in (0, 1)]
    reach = 0.08 * max(*(box[i + 2] - box[i] for box in (first, second) for i in (0, 1)))
    return any(shared[i] >= 0.5 * narrow[i] and shared[1 - i] >= -max(2.0, reach) for i in (0, 1))


def _union(first: Region, second: Region) -> Region:
    a, b = first.box, second.box
    return Region(
        (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])),
        np.bitwise_or(first.mask, second.mask),
        first.area + second.area,
        min(first.calm_s, second.calm_s),
        first.at_border or second.at_border,
    )


def cores(region: Region, apart: NDArray[np.float32], limit: float, min_area: int) -> list[Region]:
    """Take a region's shadows off and its items apart: return the parts that differ most.

    apart: (h, w) float32, the difference in grey levels; limit: what counts as change.
    """
    x1, y1, x2, y2 = region.box
    strength = np.where(region.mask > 0, apart, 0)[y1:y2, x1:x2]
    level = max(limit, CORE_SHARE * float(np.percentile(strength[strength > 0], CORE_PERCENTILE)))
    extent = min(x2 - x1, y2 - y1)
    strong = cv2.morphologyEx(mask_of(strength > level), cv2.MORPH_CLOSE, _square(extent / 6))
    solid = cv2.morphologyEx(strong, cv2.MORPH_OPEN, _square(extent / 8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = []
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < max(min_area, SMALLEST_PART * areas.max()):
            continue
        left, top, wide, high = (int(value) for value in stats[label, :4])
        mask = np.zeros_like(region.mask)
        mask[y1:y2, x1:x2] = mask_of(labels == label)
        box = (x1 + left, y1 + top, x1 + left + wide, y1 + top + high)
        area = int(stats[label, cv2.CC_STAT_AREA])
        border = _reaches_edge(mask, area, round(extent / 16))
        parts.append(Region(box, mask, area, region.calm_s, border))
    return parts or [region]


def structural(
    before: NDArray[np.float32], after: NDArray[np.float32], apart: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return apart without what is light alone: less where both pictures have one structure.

    before, after: (h, w, 3) float32 BGR. A lamp or a shadow, however sharp, leaves the print of
    what it falls on correlated with itself.
    """
    first, second = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in (before, after))
    side = (WINDOW, WINDOW)
    mean_1, mean_2 = cv2.blur(first, side), cv2.blur(second, side)
    spread_1 = np.maximum(cv2.blur(first * first, side) - mean_1 * mean_1, 0)
    spread_2 = np.maximum(cv2.blur(second * second, side) - mean_2 * mean_2, 0)
    shared = cv2.blur(first * second, side) - mean_1 * mean_2
    alike = shared / np.sqrt(spread_1 * spread_2 + PLAIN**4)
    found: NDArray[np.float32] = apart * np.clip(1.0 - alike, 0.0, 1.0)
    return found


def _square(side: float) -> Mask:
    return np.ones((max(2, round(side)), max(2, round(side))), np.uint8)


def _reaches_edge(mask: Mask, area: int, gap: int = 0) -> bool:
    """Whether a region of that area goes on beyond the picture's edge, as an arm does.

    gap: pixels it may lack there; an opening takes up to half its width off. Its contact is
    compared with the square root of its area: an arm is long and its contact is short.
    """
    near = EDGE + gap
    edges = (
        mask[:near].any(axis=0),
        mask[-near:].any(axis=0),
        mask[:, :near].any(axis=1),
        mask[:, -near:].any(axis=1),
    )
    contact = int(sum(np.count_nonzero(edge) for edge in edges))
    return contact > BORDER_SHARE * math.sqrt(area)
