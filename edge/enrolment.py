"""Make a new bundle out of one, with products added or taken out: `shelfgate models enrol|remove`.

The networks stay byte for byte what they were. Runs on the device: no training library is needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.faces import FACES, Faces
from edge.gate import Gate
from models import selftest
from models.asks import Embeds
from models.bundle import Bundle, BundleError, Group, Routes
from models.bundle_writer import Draft, draft_of
from models.catalogue import Catalogue, Product
from models.enrol import Enrolment
from models.enrol import enrol as enrol_one
from models.pictures import PictureError, read_picture
from models.router import router_of
from models.table import GroupTable, Looks, build_table
from models.yardstick import MOST_LEAD


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of one product: how many pictures it has, and what its owner should know.

    seconds: what it took. beside: a JPEG of it beside the product it can hardly be told from; empty
    where there is none, or no picture of that one is known.
    """

    sku: str
    pictures: int
    outliers: tuple[str, ...]
    confused_with: str | None
    warnings: tuple[str, ...]
    seconds: float = 0.0
    beside: bytes = b""


def enrol_products(
    bundle: Bundle,
    group: Group,
    embedder: Embeds,
    catalogue: Mapping[str, Product],
    pictures: Iterable[tuple[str, Sequence[Path]]],
    *,
    fresh: bool = False,
    known: Mapping[str, Sequence[Path]] | None = None,
) -> tuple[Draft, list[Enrolled]]:
    """Enrol products into a group and return the draft of the next version of the bundle.

    catalogue: must know every sku of pictures. fresh: begin with no products at all, and with
        thresholds that hold for other goods.
    known: pictures of products the bundle has, to show beside look-alikes; those it carries itself
        are found anyway.
    Raises BundleError for a sku the catalogue lacks, PictureError for unreadable pictures.
    """
    table = _emptied(group.table) if fresh else group.table
    looks: dict[str, Looks] = {}
    reports = []
    faces = Faces(bundle, known or {})
    for sku, paths in pictures:
        started = time.perf_counter()
        if sku not in catalogue:
            raise BundleError(f"{Path(paths[0]).parent}: sku {sku!r} is not in the catalogue")
        usable, unreadable = _usable(paths)
        shown = [picture for _, picture in usable]
        enrolment = enrol_one(sku, shown, embedder, table, among_equals=fresh)
        looks[sku] = enrolment.looks
        table = table.with_products({sku: enrolment.looks})
        names = [str(path) for path, _ in usable]
        face = usable[enrolment.typical][1]
        faces.add(sku, face)
        report = _report(sku, names, enrolment, unreadable)
        beside = faces.beside(face, enrolment.confused_with)
        took = round(time.perf_counter() - started, 3)
        reports.append(replace(report, beside=beside, seconds=took))
    if not looks:
        raise PictureError("no pictures to enrol")
    added = {sku: catalogue[sku] for sku in looks}
    products = Catalogue(added.values()) if fresh else bundle.catalogue.merged(added)
    changed = Group(group.name, group.model, table)
    return _next_version(bundle, changed, products, faces.files, fresh=fresh), reports


def _emptied(table: GroupTable) -> GroupTable:
    """Return a table for other goods: without products, and accepting from nearer only."""
    return build_table({}, table.dim, table.thresholds.carried())


def _usable(paths: Sequence[Path]) -> tuple[list[tuple[Path, NDArray[np.uint8]]], list[str]]:
    """Read pictures; return those that can be read, and what is wrong with the others.

    Raises PictureError where none can.
    """
    usable, unreadable = [], []
    for path in paths:
        try:
            usable.append((path, read_picture(path)))
        except PictureError as error:
            unreadable.append(str(error))
    if not usable:
        raise PictureError(unreadable[0])
    return usable, unreadable


def _next_version(
    bundle: Bundle, group: Group, products: Catalogue, faces: Mapping[str, bytes], *, fresh: bool
) -> Draft:
    """Put a group that changed into a bundle, with the faces of the products it then has."""
    kept = [other for other in bundle.groups if other.name != group.name]
    if fresh:
        kept = [Group(g.name, g.model, _emptied(g.table)) for g in kept]
    draft = with_group(bundle, group)
    files = {
        name: content
        for name, content in {**draft.files, **faces}.items()
        if not name.startswith(f"{FACES}/") or Path(name).stem in products
    }
    whole = replace(draft, catalogue=products, groups=[draft.groups[0], *kept], files=files)
    return rerouted(whole)


def without_products(bundle: Bundle, skus: Sequence[str]) -> Draft:
    """Return the draft of the bundle's next version without some products, in all its groups.

    Raises BundleError for a sku that no group knows.
    """
    for sku in skus:
        if not any(sku in group.table.skus for group in bundle.groups):
            raise BundleError(f"{bundle.path}: no group knows {sku!r}, so it cannot be removed")
    groups = [Group(g.name, g.model, g.table.without(skus)) for g in bundle.groups]
    gone = {f"{FACES}/{sku}.jpg" for sku in skus}
    draft = draft_of(bundle)
    changed = replace(
        draft,
        version=bundle.version + 1,
        created="",
        groups=groups,
        catalogue=Catalogue(p for p in bundle.catalogue.values() if p.sku not in set(skus)),
        files={name: content for name, content in draft.files.items() if name not in gone},
        self_test=(),
    )
    return rerouted(changed)


def with_group(bundle: Bundle, group: Group) -> Draft:
    """Return the draft of the bundle's next version, with one group exchanged.

    Its self-test is gone, since the table it spoke of has changed: see `with_self_test`.
    """
    groups = [group] + [other for other in bundle.groups if other.name != group.name]
    return replace(
        draft_of(bundle), version=bundle.version + 1, created="", groups=groups, self_test=()
    )


def rerouted(draft: Draft) -> Draft:
    """Return the draft with a router that knows the groups' products as they are now.

    A router over another network's embeddings cannot know what was enrolled since, so it is never
    sure any more and all groups are asked.
    """
    if draft.routes is None:
        return draft
    routes = draft.routes
    if all(group.model.name == routes.model.name for group in draft.groups):
        tables = {group.name: group.table for group in draft.groups}
        router = router_of(tables, routes.router.margin)
    else:
        router = replace(routes.router, margin=MOST_LEAD)
    return replace(draft, routes=Routes(routes.model, router))


def with_self_test(draft: Draft, embedder: Embeds) -> Draft:
    """Return the draft with a self-test of its first group."""
    group = draft.groups[0]
    tests, crops = selftest.made(embedder, Gate(group.table, group.name), group.name)
    kept = {k: v for k, v in draft.files.items() if not k.startswith("selftest/")}
    return replace(draft, self_test=tests, files={**kept, **crops})


def _report(
    sku: str, names: Sequence[str], enrolment: Enrolment, unreadable: Sequence[str]
) -> Enrolled:
    outliers = tuple(names[position] for position in enrolment.outliers)
    warnings = list(unreadable)
    warnings += [f"{name} looks like none of the other pictures: left out" for name in outliers]
    if enrolment.confused_with is not None:
        warnings.append(
            f"can hardly be told from {enrolment.confused_with} "
            f"(distance {enrolment.confusion:.3f}); expect questions about both"
        )
    return Enrolled(sku, len(names), outliers, enrolment.confused_with, tuple(warnings))
