"""Make a new bundle out of one, with products added: what `shelfgate models enrol` does.

The networks stay byte for byte what they were. Runs on the device: no training library is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.gate import Gate
from models import selftest
from models.asks import Embeds
from models.bundle import Bundle, BundleError, Group
from models.bundle_writer import Draft, draft_of
from models.catalogue import Catalogue, Product
from models.enrol import Enrolment
from models.enrol import enrol as enrol_one
from models.pictures import PictureError, read_picture
from models.table import Looks, build_table


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of one product: how many pictures it has, and what its owner should know."""

    sku: str
    pictures: int
    outliers: tuple[str, ...]
    confused_with: str | None
    warnings: tuple[str, ...]


def enrol_products(
    bundle: Bundle,
    group: Group,
    embedder: Embeds,
    catalogue: Mapping[str, Product],
    pictures: Iterable[tuple[str, Sequence[Path]]],
    *,
    fresh: bool = False,
) -> tuple[Draft, list[Enrolled]]:
    """Enrol products into a group and return the draft of the next version of the bundle.

    catalogue: must know every sku of pictures. fresh: begin with no products at all.
    Raises BundleError for a sku the catalogue lacks, PictureError for unreadable pictures.
    """
    table = build_table({}, group.table.dim, group.table.thresholds) if fresh else group.table
    looks: dict[str, Looks] = {}
    reports = []
    for sku, paths in pictures:
        if sku not in catalogue:
            raise BundleError(f"{Path(paths[0]).parent}: sku {sku!r} is not in the catalogue")
        usable, unreadable = [], []
        for path in paths:
            try:
                usable.append((path, read_picture(path)))
            except PictureError as error:
                unreadable.append(str(error))
        if not usable:
            raise PictureError(unreadable[0])
        enrolment = enrol_one(sku, [picture for _, picture in usable], embedder, table)
        looks[sku] = enrolment.looks
        table = table.with_products({sku: enrolment.looks})
        names = [str(path) for path, _ in usable]
        reports.append(_report(sku, names, enrolment, unreadable))
    added = {sku: catalogue[sku] for sku in looks}
    products = Catalogue(added.values()) if fresh else bundle.catalogue.merged(added)
    if not looks:
        raise PictureError("no pictures to enrol")
    kept = [other for other in bundle.groups if other.name != group.name]
    if fresh:
        kept = [
            Group(g.name, g.model, build_table({}, g.table.dim, g.table.thresholds)) for g in kept
        ]
    draft = with_group(bundle, Group(group.name, group.model, table))
    return replace(draft, catalogue=products, groups=[draft.groups[0], *kept]), reports


def with_group(bundle: Bundle, group: Group) -> Draft:
    """Return the draft of the bundle's next version, with one group exchanged.

    Its self-test is gone, since the table it spoke of has changed: see `with_self_test`.
    """
    groups = [group] + [other for other in bundle.groups if other.name != group.name]
    return replace(
        draft_of(bundle), version=bundle.version + 1, created="", groups=groups, self_test=()
    )


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
            f"(distance {enrolment.confusion:.3f}); such picks will go to review"
        )
    return Enrolled(sku, len(names), outliers, enrolment.confused_with, tuple(warnings))
