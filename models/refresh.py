"""Keep a bundle up to date without a person: what `shelfgate models refresh` does.

New pictures come in, from providers and from settled review cases. What is new is enrolled;
pictures of known products are added where the frozen test does not suffer; where a group is below
its bar a challenger is trained and takes the champion's place only if it is better on the same
test. What was done, and why, is told step by step. The trainer (`edge/challenger.py` unless another
is named) and the device's embedder are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import selftest
from models.allowance import grown
from models.asks import Embeds, MakesGate, embedded
from models.bundle import Bundle, BundleError, Group, Model, file_digest
from models.bundle_writer import Draft, next_of
from models.catalogue import Catalogue
from models.enrol import enrol, looks_of, usual_spread
from models.groups import Groups, rerouted
from models.homes import Home, Homes
from models.judging import Bar, Frozen, Pictures, figures_of, is_better
from models.pictures import PictureError, read_picture
from models.table import GroupTable, Looks, normalised

Challenge = Callable[[Group, Pictures], Group | Bundle | None]

_FARTHER = 0.2
"""How much farther than its farthest anchor a new picture of a known product may lie."""


class NoChallenger(Exception):
    """A challenger cannot be trained; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the work is done with.

    opens: an embedder for a model. gate: the device's. challenge: trains a group anew from the
    pictures of its products and returns it with a model and a table of its own, or a bundle that
    has it as its first group, whose licences and provenance are then kept; None, or NoChallenger
    raised, where it could not. None where there is no trainer.
    """

    opens: Callable[[Model], Embeds]
    gate: MakesGate
    challenge: Challenge | None = None


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
    training: further pictures a challenger may learn from, beside all that arrived, now or before.
    Raises what reading pictures and embedding raises, not for single broken pictures.
    """
    fresh, digests, steps = _fresh(arrivals, frozen, catalogue, taken)
    whole = Groups.of(champion, tools.opens)
    homes = _homes(whole, catalogue, fresh, steps)
    digests -= {file_digest(p)[0] for s in fresh if s not in homes for p in fresh[s]}
    groups = list(champion.groups)
    middles: dict[str, NDArray[np.float32]] = {}
    trained: dict[str, Bundle] = {}
    for number, group in enumerate(groups):
        embedder = tools.opens(group.model)
        own = {s: p for s, p in fresh.items() if homes.get(s) == group.name}
        known = {s: p for s, p in own.items() if s in group.table.skus}
        group, told = _enrolled(group, own, embedder, groups)
        steps += told
        middles |= _middles(whole, {s: p for s, p in own.items() if s not in known})
        group, told = _grown(group, known, catalogue, frozen, embedder, tools)
        steps += told
        material = _together(training or {}, arrivals)
        challenger, told = _challenged(group, material, catalogue, frozen, bar, embedder, tools)
        steps += told
        if isinstance(challenger, Bundle):
            trained[group.name] = challenger
            group = challenger.groups[0]
        elif challenger is not None:
            group = challenger
        groups[number] = group
    changed = any(a is not b for a, b in zip(groups, champion.groups, strict=True))
    draft = _draft(champion, groups, catalogue, trained, middles, tools) if changed else None
    if draft is None:
        steps.append(Step("nothing published", "nothing is better than what there is"))
    return Refreshed(draft, steps, digests)


def _homes(
    groups: Groups, catalogue: Catalogue, fresh: Pictures, steps: list[Step]
) -> dict[str, str]:
    """Return the group of each product that can have one; say which cannot, or hardly.

    What a group knows stays there; see `models.homes` for the rest.
    """
    homes = Homes(groups, {sku: product.category for sku, product in catalogue.items()})
    found = {sku: name for sku, name in groups.home_of.items() if sku in fresh}
    for sku in [s for s in fresh if s not in found]:
        home = homes.known(sku)
        if home is None:
            pictures, _ = _read(fresh[sku])
            try:
                home = homes.of(sku, pictures) if pictures else Home(next(iter(groups.tables)))
            except BundleError as error:
                steps.append(Step(f"{sku}: passed over", str(error)))
                continue
            if home.doubt:
                steps.append(Step(f"{sku}: goes to {home.group}", home.doubt))
        found[sku] = home.group
    return found


def _fresh(
    arrivals: Pictures, frozen: Frozen, catalogue: Catalogue, taken: frozenset[str]
) -> tuple[dict[str, list[Path]], frozenset[str], list[Step]]:
    """Return the pictures to take in, their digests, and what was passed over."""
    test = _digests(frozen.query)
    found: dict[str, list[Path]] = {}
    digests: set[str] = set()
    steps, leaked = [], 0
    for sku, paths in arrivals.items():
        if sku not in catalogue:
            steps.append(Step(f"{sku}: passed over", "not in the catalogue"))
            continue
        for path in paths:
            digest = _digest(path)
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


def _middles(groups: Groups, enrolled: Pictures) -> dict[str, NDArray[np.float32]]:
    """Return what the router needs to know of new products of which a picture can be read."""
    found: dict[str, NDArray[np.float32]] = {}
    for sku, paths in enrolled.items() if groups.router_is_apart else ():
        pictures, _ = _read(paths)
        if pictures:
            found |= groups.middles(sku, pictures)
    return found


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
            made, odd = grown_looks(group.table, row, embedded(embedder, pictures))
            if odd:
                reason = "looks like nothing known of the product: a wrong label, most likely"
                steps.append(Step(f"{sku}: {odd} pictures left out", reason))
            if made is not None:
                looks[sku] = made
    if not looks:
        return group, steps
    larger = replace(group, table=group.table.with_products(looks))
    before = figures_of(group, catalogue, frozen, embedder, tools.gate)
    after = figures_of(larger, catalogue, frozen, embedder, tools.gate)
    told = {"before": before, "after": after}
    names = ", ".join(looks)
    if is_better(after, before, strictly=False):
        steps.append(Step(f"new pictures added to {names}", "the test does not suffer", told))
        return larger, steps
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
    left = grown(-float(table.handicaps[row]), int(fits.sum()), usual_spread(table))
    return replace(looks, centroid=normalised(mean[None])[0], handicap=-left), odd


def _challenged(
    group: Group,
    pictures: Pictures,
    catalogue: Catalogue,
    frozen: Frozen,
    bar: Bar,
    embedder: Embeds,
    tools: Tools,
) -> tuple[Group | Bundle | None, list[Step]]:
    """Train a challenger where the group is below its bar; return it if it is better."""
    reached = figures_of(group, catalogue, frozen, embedder, tools.gate)
    told = {"champion": reached, "bar": {"accuracy": bar.accuracy, "selective": bar.selective}}
    if not reached["queries"]:
        return None, [Step(f"{group.name}: not judged", "the frozen test has none of its products")]
    # None of it is decided: then none of it is decided wrongly. A share of 0.0 is another matter.
    decided_right = 1.0 if reached["selective"] is None else reached["selective"]
    below = reached["accuracy"] < bar.accuracy or decided_right < bar.selective
    if not below:
        return None, [Step(f"{group.name}: model kept", "it reaches its bar", told)]
    try:
        challenger = _trained(group, pictures, frozen, tools.challenge)
    except NoChallenger as error:
        return None, [Step(f"{group.name}: model kept", f"below its bar, but {error}", told)]
    rival = challenger.groups[0] if isinstance(challenger, Bundle) else challenger
    found = figures_of(rival, catalogue, frozen, tools.opens(rival.model), tools.gate)
    told["challenger"] = found
    if is_better(found, reached, strictly=True):
        return challenger, [Step(f"{group.name}: challenger takes over", "it is better", told)]
    return None, [Step(f"{group.name}: champion stays", "the challenger is not better", told)]


def _trained(
    group: Group, pictures: Pictures, frozen: Frozen, challenge: Challenge | None
) -> Group | Bundle:
    """Return a challenger that knows all the group's products. Raises NoChallenger."""
    if challenge is None:
        raise NoChallenger("no trainer")
    test = _digests(frozen.query)
    own = {
        sku: kept
        for sku, paths in pictures.items()
        if sku in group.table.skus
        and (kept := [path for path in paths if _digest(path) not in test])
    }
    challenger = challenge(group, own)
    if challenger is None:
        raise NoChallenger("no challenger could be trained")
    rival = challenger.groups[0] if isinstance(challenger, Bundle) else challenger
    lost = sorted(set(group.table.skus) - set(rival.table.skus))
    if lost:
        raise NoChallenger(f"the challenger does not know {lost[0]}")
    return challenger


def _together(*sources: Pictures) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for source in sources:
        for sku, paths in source.items():
            found.setdefault(sku, []).extend(paths)
    return found


def _digests(pictures: Pictures) -> set[str]:
    return {_digest(path) for paths in pictures.values() for path in paths}


def _digest(path: Path) -> str:
    return file_digest(path.resolve())[0]


def _read(paths: Sequence[Path]) -> tuple[list[NDArray[np.uint8]], list[str]]:
    pictures, broken = [], []
    for path in paths:
        try:
            pictures.append(read_picture(path))
        except PictureError as error:
            broken.append(str(error))
    return pictures, broken


def _draft(
    champion: Bundle,
    groups: Sequence[Group],
    catalogue: Catalogue,
    trained: Mapping[str, Bundle],
    middles: Mapping[str, NDArray[np.float32]],
    tools: Tools,
) -> Draft:
    """Return the next version.

    trained: what new models came from, by their group's name. middles: of new products, as
    `models.groups.Groups.middles` returns them.
    """
    known = {sku for group in groups for sku in group.table.skus}
    added = {sku: catalogue[sku] for sku in known if sku in catalogue}
    draft = next_of(champion, "refresh", groups=[group.name for group in groups])
    tests, crops = selftest.made_of(
        ((group, tools.opens(group.model), tools.gate(group.table)) for group in groups),
        draft.files,
    )
    return replace(
        draft,
        groups=groups,
        catalogue=champion.catalogue.merged(added),
        licences={
            k: v for bundle in (champion, *trained.values()) for k, v in bundle.licences.items()
        },
        provenance=_with_challengers(draft.provenance, trained),
        self_test=tests,
        files={**draft.files, **crops},
        routes=rerouted(champion.routes, groups, middles),
    )


def _with_challengers(
    provenance: Mapping[str, Any], trained: Mapping[str, Bundle]
) -> dict[str, Any]:
    """Return how a bundle was made, and how each group's model was that took over since."""
    since = {name: bundle.provenance for name, bundle in trained.items()}
    told = dict(provenance)
    return told | {"challengers": {**told.get("challengers", {}), **since}} if since else told
