"""Make a new bundle out of one, with products added or taken out: `shelfgate models enrol|remove`.

The networks stay byte for byte what they were. Runs on the device: no training library is needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.faces import Faces
from edge.gate import Gate
from models import selftest
from models.bundle import FACES, Bundle, BundleError, Group, Routes
from models.bundle_writer import Draft, next_of
from models.catalogue import Catalogue, Product
from models.enrol import Enrolment
from models.enrol import enrol as enrol_one
from models.groups import Groups, Opens, rerouted
from models.homes import Home, Homes
from models.pictures import PictureError, read_picture
from models.table import GroupTable, build_table


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of one product: how many pictures it has, and what its owner should know.

    seconds: what it took. beside: a JPEG of it beside the product it can hardly be told from; empty
    where there is none, or no picture of that one is known. group: the one it is in.
    """

    sku: str
    pictures: int
    outliers: tuple[str, ...]
    confused_with: str | None
    warnings: tuple[str, ...]
    seconds: float = 0.0
    beside: bytes = b""
    group: str = ""


def enrol_products(
    bundle: Bundle,
    opens: Opens,
    catalogue: Mapping[str, Product],
    pictures: Iterable[tuple[str, Sequence[Path]]],
    *,
    into: str | None = None,
    fresh: bool = False,
    known: Mapping[str, Sequence[Path]] | None = None,
) -> tuple[Draft, list[Enrolled]]:
    """Enrol products into their groups and return the draft of the next version of the bundle.

    A product that was in another group is taken out there.

    catalogue: must know every sku of pictures. into: the group they all go to, instead of each to
        its own (see `models.homes`).
    fresh: begin with no products at all, and with thresholds that hold for other goods.
    known: pictures of products the bundle has, to show beside look-alikes; those it carries itself
        are found anyway.
    Raises BundleError for a sku the catalogue lacks or that belongs to no group, PictureError for
    unreadable pictures.
    """
    groups = Groups.of(bundle, opens)
    homes = Homes(groups, {sku: product.category for sku, product in catalogue.items()})
    if fresh:
        groups = groups.with_tables({n: _emptied(table) for n, table in groups.tables.items()})
    enrolled: list[str] = []
    reports = []
    faces = Faces(bundle, known or {})
    for sku, paths in pictures:
        started = time.perf_counter()
        if sku not in catalogue:
            raise BundleError(f"{Path(paths[0]).parent}: sku {sku!r} is not in the catalogue")
        usable, unreadable = _usable(paths)
        shown = [picture for _, picture in usable]
        home = Home(into) if into is not None else homes.of(sku, shown)
        groups, enrolment = _into(groups, home.group, sku, shown, among_equals=fresh)
        enrolled.append(sku)
        face = usable[enrolment.typical][1]
        faces.add(sku, face)
        report = _report(sku, home, [str(path) for path, _ in usable], enrolment, unreadable)
        beside = faces.beside(face, enrolment.confused_with)
        took = round(time.perf_counter() - started, 3)
        reports.append(replace(report, beside=beside, seconds=took))
    if not enrolled:
        raise PictureError("no pictures to enrol")
    added = {sku: catalogue[sku] for sku in enrolled}
    products = Catalogue(added.values()) if fresh else bundle.catalogue.merged(added)
    draft = _next_version(bundle, groups, products, faces.files, enrolled, fresh=fresh)
    return draft, reports


def _into(
    groups: Groups,
    home: str,
    sku: str,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    among_equals: bool,
) -> tuple[Groups, Enrolment]:
    """Enrol one product into a group, and take it out of all others."""
    table = groups.tables[home]
    embedder, others = groups.embedder(home), groups.others(home)
    made = enrol_one(sku, pictures, embedder, table, others, among_equals=among_equals)
    left = {n: t.without([sku]) for n, t in groups.tables.items() if n != home and sku in t.skus}
    changed = {**left, home: table.with_products({sku: made.looks})}
    return groups.with_tables(changed, groups.middles(sku, made.fitting(pictures))), made


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
    bundle: Bundle,
    groups: Groups,
    products: Catalogue,
    faces: Mapping[str, bytes],
    enrolled: Sequence[str],
    *,
    fresh: bool,
) -> Draft:
    """Put tables that changed into a bundle, with the faces of the products it then has."""
    draft = with_tables(bundle, groups, "enrol", skus=list(enrolled), fresh=fresh)
    files = {
        name: content
        for name, content in {**draft.files, **faces}.items()
        if not name.startswith(f"{FACES}/") or Path(name).stem in products
    }
    return replace(draft, catalogue=products, files=files)


def without_products(bundle: Bundle, skus: Sequence[str]) -> Draft:
    """Return the draft of the bundle's next version without some products, in all its groups.

    Raises BundleError for a sku that no group knows.
    """
    for sku in skus:
        if not any(sku in group.table.skus for group in bundle.groups):
            raise BundleError(f"{bundle.path}: no group knows {sku!r}, so it cannot be removed")
    groups = [Group(g.name, g.model, g.table.without(skus)) for g in bundle.groups]
    gone = {f"{FACES}/{sku}.jpg" for sku in skus}
    draft = next_of(bundle, "remove", skus=list(skus))
    changed = replace(
        draft,
        groups=groups,
        catalogue=Catalogue(p for p in bundle.catalogue.values() if p.sku not in set(skus)),
        files={name: content for name, content in draft.files.items() if name not in gone},
    )
    return replace(changed, routes=rerouted(changed.routes, changed.groups))


def with_tables(bundle: Bundle, groups: Groups, step: str, **said: Any) -> Draft:
    """Return the draft of the bundle's next version, with the tables of its groups as they are now.

    Its self-test is gone, since the tables it spoke of have changed: see `with_self_test`.
    step, said: why, see `models.bundle_writer.next_of`.
    """
    written = groups.written(bundle.groups)
    if groups.router is None or bundle.routes is None:
        routes = rerouted(bundle.routes, written)
    else:
        routes = Routes(bundle.routes.model, groups.router)
    return replace(next_of(bundle, step, **said), groups=written, routes=routes)


def with_self_test(draft: Draft, opens: Opens) -> Draft:
    """Return the draft with a self-test of each of its groups."""
    tests, crops = selftest.made_of(
        ((group, opens(group.model), Gate(group.table, group.name)) for group in draft.groups),
        draft.files,
    )
    return replace(draft, self_test=tests, files={**draft.files, **crops})


def _report(
    sku: str, home: Home, names: Sequence[str], enrolment: Enrolment, unreadable: Sequence[str]
) -> Enrolled:
    outliers = tuple(names[position] for position in enrolment.outliers)
    warnings = [*unreadable, *([home.doubt] if home.doubt else [])]
    warnings += [f"{name} looks like none of the other pictures: left out" for name in outliers]
    if enrolment.confused_with is not None:
        warnings.append(
            f"can hardly be told from {enrolment.confused_with} "
            f"(distance {enrolment.confusion:.3f}); expect questions about both"
        )
    twin = enrolment.confused_with
    return Enrolled(sku, len(names), outliers, twin, tuple(warnings), group=home.group)
