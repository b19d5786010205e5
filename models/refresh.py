"""Keep a bundle up to date without a person: what `shelfgate models refresh` does.

New pictures come in, from providers and from settled review cases. What is new is enrolled;
pictures of known products are added where the frozen test does not suffer; where a group is below
its bar a challenger is trained and takes the champion's place only if it is better on the same
test. What was done, and why, is told step by step. The trainer and the device's embedder are handed
in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import selftest
from models.asks import Embeds, MakesGate
from models.bundle import Bundle, BundleError, Group, Model, Routes, file_digest
from models.bundle_writer import Draft, next_of
from models.catalogue import Catalogue
from models.enrol import enrol, looks_of
from models.evaluate import Task, evaluate_task
from models.groups import Groups
from models.homes import Home, Homes
from models.pictures import PictureError, read_picture
from models.router import router_of
from models.table import GroupTable, Looks, normalised
from models.yardstick import MOST_LEAD

Pictures = Mapping[str, Sequence[Path]]

_FARTHER = 0.2
"""How much farther than its farthest anchor a new picture of a known product may lie."""

_NOISE = 0.002
"""Differences of a share smaller than this are none."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a group must reach on the frozen test: top-1, and right of what is decided."""

    accuracy: float = 0.91
    selective: float = 0.99


@dataclass(frozen=True, slots=True)
class Frozen:
    """The test that never changes: queries, and pictures of what is not sold."""

    query: Pictures
    unknown: Pictures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the work is done with.

    opens: an embedder for a model. gate: the device's. challenge: trains a group anew from the
    pictures of its products and returns it with a model and a table of its own, or None where it
    could not; None where there is no trainer.
    """

    opens: Callable[[Model], Embeds]
    gate: MakesGate
    challenge: Callable[[Group, Pictures], Group | None] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done or left, why, and the figures it was decided by."""

    what: str
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Refreshed:
    """The draft to publish, None where nothing changed for the better; what was done.

    taken: digests of the pictures that were dealt with, in whatever way.
    """

    draft: Draft | None
    steps: Sequence[Step]
    taken: frozenset[str]


def refresh(
    champion: Bundle,
    catalogue: Catalogue,
    arrivals: Pictures,
    frozen: Frozen,
    bar: Bar,
    tools: Tools,
    *,
    taken: frozenset[str] = frozenset(),
    training: Pictures | None = None,
) -> Refreshed:
    """Take in what arrived and return what should follow the champion.

    arrivals: pictures by sku; those taken before, and those of the frozen test, are passed over.
    training: further pictures a challenger may learn from.
    Raises what reading pictures and embedding raises, not for single broken pictures.
    """
    fresh, digests, steps = _fresh(arrivals, frozen, catalogue, taken)
    homes = _homes(champion, catalogue, fresh, tools, steps)
    digests -= {file_digest(p)[0] for s in fresh if s not in homes for p in fresh[s]}
    groups = list(champion.groups)
    for number, group in enumerate(groups):
        embedder = tools.opens(group.model)
        own = {s: p for s, p in fresh.items() if homes.get(s) == group.name}
        known = {s: p for s, p in own.items() if s in group.table.skus}
        group, told = _enrolled(group, own, embedder, groups)
        steps += told
        group, told = _grown(group, known, catalogue, frozen, embedder, tools)
        steps += told
        group, told = _challenged(
            group, {**(training or {}), **own}, catalogue, frozen, bar, embedder, tools
        )
        steps += told
        groups[number] = group
    changed = any(a is not b for a, b in zip(groups, champion.groups, strict=True))
    draft = _draft(champion, groups, catalogue, tools) if changed else None
    if draft is None:
        steps.append(Step("nothing published", "nothing is better than what there is"))
    return Refreshed(draft, steps, digests)


def _homes(
    champion: Bundle, catalogue: Catalogue, fresh: Pictures, tools: Tools, steps: list[Step]
) -> dict[str, str]:
    """Return the group of each product that can have one; say which cannot, or hardly.

    What a group knows stays there; see `models.homes` for the rest.
    """
    groups = Groups.of(champion, tools.opens)
    homes = Homes(groups, {sku: product.category for sku, product in catalogue.items()})
    found = {sku: name for sku, name in groups.home_of.items() if sku in fresh}
    for sku in [s for s in fresh if s not in found]:
        home = homes.known(sku)
        if home is None:
            pictures, _ = _read(fresh[sku])
            try:
                home = homes.of(sku, pictures) if pictures else Home(champion.groups[0].name)
            except BundleError as error:
                steps.append(Step(f"{sku}: passed over", str(error)))
                continue
            if home.doubt:
                steps.append(Step(f"{sku}: goes to {home.group}", home.doubt))
        found[sku] = home.group
    return found


def figures_of(
    group: Group, catalogue: Catalogue, frozen: Frozen, embedder: Embeds, gate: MakesGate
) -> dict[str, Any]:
    """Return what a group reaches on the frozen test of its own products."""
    known = set(group.table.skus)
    query = {s: p for s, p in frozen.query.items() if s in known and s in catalogue}
    unknown = {s: p for s, p in frozen.unknown.items() if s not in known}
    task = Task(group.table, catalogue, {}, query, unknown, group.model.trained_skus)
    found = evaluate_task(task, embedder, gate)
    return {
        "accuracy": found["accuracy"]["all"],
        "selective": found["selective"]["accuracy"],
        "coverage": found["selective"]["coverage"],
        "unknown_accepted": found["unknown"]["false_accepts"],
        "queries": found["counts"]["queries"],
    }


def is_better(new: Mapping[str, Any], old: Mapping[str, Any], *, strictly: bool) -> bool:
    """Return whether new figures are better, or at least not worse, than old ones.

    Better is a higher top-1 while no more of what is decided is wrong and no more of the unknown
    is accepted.
    """
    if new["accuracy"] is None or old["accuracy"] is None:
        return not strictly
    gain = new["accuracy"] - old["accuracy"]
    safe = all(
        new[name] is None or old[name] is None or sign * (new[name] - old[name]) >= -_NOISE
        for name, sign in (("selective", 1.0), ("unknown_accepted", -1.0))
    )
    return safe and (gain > _NOISE if strictly else gain >= -_NOISE)


def _fresh(
    arrivals: Pictures, frozen: Frozen, catalogue: Catalogue, taken: frozenset[str]
) -> tuple[dict[str, list[Path]], frozenset[str], list[Step]]:
    """Return the pictures to take in, their digests, and what was passed over."""
    test = {file_digest(p)[0] for paths in frozen.query.values() for p in paths}
    found: dict[str, list[Path]] = {}
    digests: set[str] = set()
    steps, leaked = [], 0
    for sku, paths in arrivals.items():
        if sku not in catalogue:
            steps.append(Step(f"{sku}: passed over", "not in the catalogue"))
            continue
        for path in paths:
            digest = file_digest(path)[0]
            if digest in test:
                leaked += 1
            elif digest not in taken and digest not in digests:
                digests.add(digest)
                found.setdefault(sku, []).append(path)
    if leaked:
        steps.append(Step(f"{leaked} pictures passed over", "they belong to the frozen test"))
    return found, frozenset(digests), steps


def _enrolled(
    group: Group, own: Pictures, embedder: Embeds, groups: Sequence[Group]
) -> tuple[Group, list[Step]]:
    """Enrol what the group does not know."""
    steps, table = [], group.table
    same = [g.table for g in groups if g is not group and g.model.name == group.model.name]
    for sku in [s for s in own if s not in group.table.skus]:
        pictures, broken = _read(own[sku])
        steps += [Step(f"{sku}: a picture left out", reason) for reason in broken]
        if not pictures:
            continue
        made = enrol(sku, pictures, embedder, table, same)
        table = table.with_products({sku: made.looks})
        why = f"new, from {len(pictures) - len(made.outliers)} of {len(pictures)} pictures"
        if made.confused_with:
            why += f"; can hardly be told from {made.confused_with}, expect questions about both"
        steps.append(Step(f"{sku}: enrolled in {group.name}", why))
    return (replace(group, table=table) if table is not group.table else group), steps


def _grown(
    group: Group,
    known: Pictures,
    catalogue: Catalogue,
    frozen: Frozen,
    embedder: Embeds,
    tools: Tools,
) -> tuple[Group, list[Step]]:
    """Add new pictures to known products, if the frozen test does not suffer."""
    looks, steps = {}, []
    for sku, paths in known.items():
        pictures, broken = _read(paths)
        steps += [Step(f"{sku}: a picture left out", reason) for reason in broken]
        if pictures:
            row = group.table.skus.index(sku)
            made, odd = grown_looks(group.table, row, embedder.embed(pictures))
            if odd:
                reason = "looks like nothing known of the product: a wrong label, most likely"
                steps.append(Step(f"{sku}: {odd} pictures left out", reason))
            if made is not None:
                looks[sku] = made
    if not looks:
        return group, steps
    grown = replace(group, table=group.table.with_products(looks))
    before = figures_of(group, catalogue, frozen, embedder, tools.gate)
    after = figures_of(grown, catalogue, frozen, embedder, tools.gate)
    told = {"before": before, "after": after}
    names = ", ".join(looks)
    if is_better(after, before, strictly=False):
        steps.append(Step(f"new pictures added to {names}", "the test does not suffer", told))
        return grown, steps
    steps.append(Step(f"new pictures of {names} not added", "the test is worse with them", told))
    return group, steps


def grown_looks(table: GroupTable, row: int, rows: NDArray[np.float32]) -> tuple[Looks | None, int]:
    """Return a product's looks with (n, D) new embeddings added, and how many were left out.

    The old pictures count as much as there are anchors of them. None where nothing was added.
    """
    anchors, centroid = table.anchors_of(row), table.centroids[row]
    farthest = float((1.0 - anchors @ centroid).max())
    fits = 1.0 - rows @ centroid <= farthest + _FARTHER
    odd = int((~fits).sum())
    if not fits.any():
        return None, odd
    together = np.concatenate([anchors, rows[fits]])
    looks = looks_of(together, usual=float(table.spreads[row]))
    mean = len(anchors) * centroid + rows[fits].sum(axis=0)
    return replace(looks, centroid=normalised(mean[None])[0]), odd


def _challenged(
    group: Group,
    pictures: Pictures,
    catalogue: Catalogue,
    frozen: Frozen,
    bar: Bar,
    embedder: Embeds,
    tools: Tools,
) -> tuple[Group, list[Step]]:
    """Train a challenger where the group is below its bar, and take it if it is better."""
    reached = figures_of(group, catalogue, frozen, embedder, tools.gate)
    told = {"champion": reached, "bar": {"accuracy": bar.accuracy, "selective": bar.selective}}
    if not reached["queries"]:
        return group, [
            Step(f"{group.name}: not judged", "the frozen test has none of its products")
        ]
    # None of it is decided: then none of it is decided wrongly. A share of 0.0 is another matter.
    decided_right = 1.0 if reached["selective"] is None else reached["selective"]
    below = reached["accuracy"] < bar.accuracy or decided_right < bar.selective
    if not below:
        return group, [Step(f"{group.name}: model kept", "it reaches its bar", told)]
    if tools.challenge is None:
        return group, [Step(f"{group.name}: model kept", "below its bar, but no trainer", told)]
    own = {sku: paths for sku, paths in pictures.items() if sku in group.table.skus}
    challenger = tools.challenge(group, own)
    if challenger is None:
        return group, [Step(f"{group.name}: model kept", "no challenger could be trained", told)]
    lost = sorted(set(group.table.skus) - set(challenger.table.skus))
    if lost:
        why = f"the challenger does not know {lost[0]}"
        return group, [Step(f"{group.name}: model kept", why, told)]
    found = figures_of(challenger, catalogue, frozen, tools.opens(challenger.model), tools.gate)
    told["challenger"] = found
    if is_better(found, reached, strictly=True):
        return challenger, [Step(f"{group.name}: challenger takes over", "it is better", told)]
    return group, [Step(f"{group.name}: champion stays", "the challenger is not better", told)]


def _read(paths: Sequence[Path]) -> tuple[list[NDArray[np.uint8]], list[str]]:
    pictures, broken = [], []
    for path in paths:
        try:
            pictures.append(read_picture(path))
        except PictureError as error:
            broken.append(str(error))
    return pictures, broken


def _draft(champion: Bundle, groups: Sequence[Group], catalogue: Catalogue, tools: Tools) -> Draft:
    known = {sku for group in groups for sku in group.table.skus}
    added = {sku: catalogue[sku] for sku in known if sku in catalogue}
    first = groups[0]
    tests, crops = selftest.made(tools.opens(first.model), tools.gate(first.table), first.name)
    draft = next_of(champion, "refresh", groups=[group.name for group in groups])
    kept = {k: v for k, v in draft.files.items() if not k.startswith("selftest/")}
    return replace(
        draft,
        groups=groups,
        catalogue=champion.catalogue.merged(added),
        self_test=tests,
        files={**kept, **crops},
        routes=_routes(champion.routes, groups),
    )


def _routes(routes: Routes | None, groups: Sequence[Group]) -> Routes | None:
    """Return a router over the groups' products; never sure where it cannot know them all."""
    if routes is None:
        return None
    if all(group.model is routes.model for group in groups):
        tables = {group.name: group.table for group in groups}
        return Routes(routes.model, router_of(tables, routes.router.margin))
    return Routes(routes.model, replace(routes.router, margin=MOST_LEAD))
