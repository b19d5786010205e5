"""Put categories that look alike into groups, one embedding model each.

Categories are compared by the middle of their samples' base-network embeddings and merged by
average linkage (scikit-learn's agglomerative clustering); bounds on a group's size then cut the
tree. Needs the `train` extra. Called by `shelfgate models group`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.table import GroupTable, merged, normalised

_REACH = 1.25
"""So much farther than a group's own farthest category a new one may lie."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many products a group has at least and at most.

    A category with more than most is a group of its own.
    Raises ValueError where least is not in 1 to most.
    """

    least: int = 6
    most: int = 40

    def __post_init__(self) -> None:
        """Raise ValueError for bounds nothing fits."""
        if not 1 <= self.least <= self.most:
            raise ValueError(f"group bounds {self.least} to {self.most}: least must be 1 to most")


@dataclass(frozen=True, slots=True, eq=False)
class Category:
    """A category of products: its name, how many there are, and its middle, (D,) L2-normalised."""

    name: str
    products: int
    middle: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class CategoryGroup:
    """Categories that share a model.

    middle: (D,) L2-normalised. radius: cosine distance of its farthest category from it.
    """

    name: str
    categories: tuple[str, ...]
    products: int
    middle: NDArray[np.float32]
    radius: float


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """The groups, and how categories were merged.

    categories: in the order merges count them. merges: (C - 1, 2) what was merged: a category, or
    the merge numbered so less C. heights: (C - 1,) at which mean cosine distance.
    """

    groups: tuple[CategoryGroup, ...]
    categories: tuple[Category, ...]
    merges: NDArray[np.int64]
    heights: NDArray[np.float64]
    bounds: Bounds

    def group_of(self, category: str) -> CategoryGroup:
        """Return a category's group. Raises KeyError."""
        for group in self.groups:
            if category in group.categories:
                return group
        raise KeyError(category)


@dataclass(frozen=True, slots=True)
class Joined:
    """What becomes of a new category.

    group: the one it joins, None where it needs a new one. distance: to that one's middle, or to
    the nearest's. reason: in words. nearest: the group it looks most like, be it this one or not.
    """

    group: str | None
    distance: float
    reason: str
    nearest: str = ""


def categories_of(
    rows: NDArray[np.float32], skus: Sequence[str], category_of: Mapping[str, str]
) -> list[Category]:
    """Return the categories of (N, D) embeddings of samples; each product counts the same.

    skus: (N,) what each shows. Raises KeyError for a sku without category.
    """
    names = np.array(skus)
    middles: dict[str, list[NDArray[np.float32]]] = {}
    for sku in sorted(set(skus)):
        middle = normalised(rows[names == sku].mean(axis=0, keepdims=True))[0]
        middles.setdefault(category_of[sku], []).append(middle)
    return _categories(middles)


def _categories(middles: Mapping[str, Sequence[NDArray[np.float32]]]) -> list[Category]:
    """Return categories by the middles, (D,) each, of their products."""
    return [
        Category(name, len(found), normalised(np.mean(found, axis=0)[None])[0])
        for name, found in sorted(middles.items())
    ]


def group_categories(categories: Sequence[Category], bounds: Bounds) -> Grouping:
    """Cluster categories into groups within bounds. Raises ValueError for no categories."""
    if not categories:
        raise ValueError("no categories to group")
    merges, heights = _tree(categories)
    sets = _cut(categories, merges, bounds.most)
    sets = _filled(categories, sets, bounds)
    groups = tuple(
        _group(f"group-{number}", [categories[i] for i in s]) for number, s in enumerate(sets, 1)
    )
    return Grouping(groups, tuple(categories), merges, heights, bounds)


def grouping_of(tables: Mapping[str, GroupTable], category_of: Mapping[str, str]) -> Grouping:
    """Return the groups that tables are, for `joining`: without a tree, without bounds.

    tables: by group, of products embedded by one model, not all empty; empty ones are left out.
    category_of: of their products; one without is a category of its own. A group of one category
    reaches as far as its products usually lie from its middle.
    """
    groups = []
    for name, table in tables.items():
        if not len(table):
            continue
        middles: dict[str, list[NDArray[np.float32]]] = {}
        for sku, centroid in zip(table.skus, table.centroids, strict=True):
            middles.setdefault(category_of.get(sku) or sku, []).append(centroid)
        group = _group(name, _categories(middles))
        usual = float(np.median(1.0 - table.centroids @ group.middle))
        groups.append(replace(group, radius=max(group.radius, usual)))
    none = np.empty((0, 2), np.int64)
    return Grouping(tuple(groups), (), none, np.empty(0), Bounds(1, sys.maxsize))


def joining(grouping: Grouping, category: Category) -> Joined:
    """Say which group a new category joins, or that it needs a new one."""
    distances = [float(1.0 - group.middle @ category.middle) for group in grouping.groups]
    order = np.argsort(distances, kind="stable").tolist()
    nearest = grouping.groups[order[0]]
    usual = max(group.radius for group in grouping.groups)
    reach = _REACH * max(nearest.radius, usual)
    distance = round(distances[order[0]], 4)
    if distances[order[0]] > reach:
        return Joined(
            None,
            distance,
            f"looks like no group: nearest is {nearest.name} at {distance:.3f}, beyond {reach:.3f}",
            nearest.name,
        )
    for place in order:
        group = grouping.groups[place]
        if distances[place] > reach:
            break
        if group.products + category.products <= grouping.bounds.most:
            full = "" if group is nearest else f"; {nearest.name} is nearer but full"
            told = f"looks like {group.name}{full}"
            return Joined(group.name, round(distances[place], 4), told, nearest.name)
    told = f"{nearest.name} looks alike but has no room for {category.products} more"
    return Joined(None, distance, told, nearest.name)


def regrouped(
    tables: Mapping[str, GroupTable], group_of: Mapping[str, str]
) -> dict[str, GroupTable]:
    """Return the products of tables of one model in other groups, by the groups' sorted names.

    group_of: of each of their products. A group decides as that one did from which most of its
    products come; where others have joined them, from nearer only (see `Thresholds.carried`).
    Raises KeyError for a product without group.
    """
    everything = merged(list(tables.values()))
    home_of: dict[str, str] = {}
    for name, table in tables.items():
        home_of = {**dict.fromkeys(table.skus, name), **home_of}
    found = {}
    for name in sorted({group_of[sku] for sku in everything.skus}):
        own = [sku for sku in everything.skus if group_of[sku] == name]
        came = Counter(home_of[sku] for sku in own).most_common()
        source = tables[came[0][0]]
        limits = source.thresholds if len(came) == 1 else source.thresholds.carried()
        chosen = everything.without(set(everything.skus) - set(own))
        told = replace(chosen, yardstick=source.yardstick, gap=source.gap)
        found[name] = told.with_thresholds(limits)
    return found


def _tree(categories: Sequence[Category]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if len(categories) == 1:
        return np.empty((0, 2), np.int64), np.empty(0)
    from sklearn.cluster import AgglomerativeClustering

    fitted = AgglomerativeClustering(
        n_clusters=None,
        distance_threshold=0.0,
        metric="cosine",
        linkage="average",
        compute_full_tree=True,
    ).fit(np.stack([category.middle for category in categories]))
    return np.asarray(fitted.children_, np.int64), np.asarray(fitted.distances_, np.float64)


def _cut(categories: Sequence[Category], merges: NDArray[np.int64], most: int) -> list[list[int]]:
    """Return the largest branches of the tree that have no more than most products."""
    members: list[list[int]] = [[number] for number in range(len(categories))]
    for left, right in merges.tolist():
        members.append(members[left] + members[right])

    def split(node: int) -> list[list[int]]:
        size = sum(categories[i].products for i in members[node])
        if size <= most or node < len(categories):
            return [members[node]]
        left, right = merges[node - len(categories)].tolist()
        return split(left) + split(right)

    return split(len(members) - 1)


def _filled(
    categories: Sequence[Category], sets: list[list[int]], bounds: Bounds
) -> list[list[int]]:
    """Merge groups that are too small with the nearest one that has room."""
    sets = [list(s) for s in sets]
    while len(sets) > 1:
        sizes = [sum(categories[i].products for i in s) for s in sets]
        small = int(np.argmin(sizes))
        if sizes[small] >= bounds.least:
            break
        middles = [_middle([categories[i] for i in s]) for s in sets]
        room = [
            other
            for other in range(len(sets))
            if other != small and sizes[other] + sizes[small] <= bounds.most
        ]
        if not room:
            break
        nearest = max(room, key=lambda other: float(middles[other] @ middles[small]))
        sets[nearest] += sets[small]
        del sets[small]
    return sets


def _group(name: str, categories: Sequence[Category]) -> CategoryGroup:
    middle = _middle(categories)
    radius = max(float(1.0 - category.middle @ middle) for category in categories)
    names = tuple(sorted(category.name for category in categories))
    return CategoryGroup(name, names, sum(c.products for c in categories), middle, max(radius, 0.0))


def _middle(categories: Sequence[Category]) -> NDArray[np.float32]:
    weighed = np.sum([category.products * category.middle for category in categories], axis=0)
    return np.asarray(normalised(weighed[None].astype(np.float32))[0], np.float32)
