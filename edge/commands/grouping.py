"""`shelfgate models group`: category groups by how alike they look, and the router between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edge.cli import BadInput
from edge.commands.upkeep import PROBLEMS, bundle_option, json_option, refuse, say, show
from edge.embed import open_embedder
from edge.enrolment import with_self_test
from models.bundle import Bundle, BundleError, Group, Routes, load_bundle
from models.bundle_writer import Draft, next_of, write_bundle
from models.catalogue import CatalogueError, read_catalogue
from models.grouping import (
    Bounds,
    Category,
    Grouping,
    Joined,
    categories_of,
    group_categories,
    joining,
    regrouped,
)
from models.groups import Groups
from models.pictures import find_pictures, labelled
from models.router import Router, calibrated, router_of
from models.table import GroupTable, merged

_PATH = click.Path(path_type=Path)


@click.command("group")
@bundle_option
@click.option("--catalogue", required=True, type=_PATH, help="CSV: sku, name, category, ...")
@click.option("--pictures", multiple=True, required=True, type=_PATH, help="Samples: <sku>/*.jpg")
@click.option("--query", multiple=True, type=_PATH, help="Others, to measure the router with.")
@click.option("--least", default=6, show_default=True, help="Products a group has at least.")
@click.option("--most", default=40, show_default=True, help="Products a group has at most.")
@click.option("--new", multiple=True, help="Categories to leave out, then say where they would go.")
@click.option("--report", type=_PATH, help="HTML page: the tree, and the groups' pictures.")
@click.option("--out", type=_PATH, help="Bundle with its products put into these groups.")
@json_option
def group_command(
    path: Path,
    catalogue: Path,
    pictures: tuple[Path, ...],
    query: tuple[Path, ...],
    least: int,
    most: int,
    new: tuple[str, ...],
    report: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Group categories by how alike their samples look, within bounds on a group's size.

    Needs the train extra. With --query the router between the groups is calibrated on half of those
    pictures and measured on the rest. With --out all products of the bundle, in whatever group they
    are, go to the group of their category: to the nearest, where no picture shows the category, and
    to a new group, where a --new one is said to need it.

    Example: shelfgate models group --catalogue c.csv --pictures train --query val --report g.html
    """
    from models.grouping_report import grouping_page

    try:
        bundle = load_bundle(path)
        groups = _of_one_model(bundle)
        found, known = find_pictures(pictures), read_catalogue(catalogue)
        missing = sorted(set(found) - set(known))
        if missing:
            raise CatalogueError(f"sku {missing[0]!r} has pictures but is not in the catalogue")
        category_of = {**groups.categories, **{s: p.category for s, p in known.items()}}
        rows, skus = _embedded(groups, found)
        whole = categories_of(rows, skus, category_of)
        grouping = group_categories([c for c in whole if c.name not in new], Bounds(least, most))
        joined, places = _places(grouping, whole, groups, category_of)
        group_of = {sku: places[category_of[sku]] for sku in {*found, *groups.home_of}}
        tables = regrouped(groups.tables, group_of)
        router, routing = _routes(tables, group_of, groups, query)
        if report is not None:
            told = f"{len(whole)} categories in {len(grouping.groups)} groups of {least} to {most}"
            report.write_text(grouping_page(grouping, found, category_of, told), encoding="utf-8")
        if out is not None:
            draft = _split(bundle, tables, router)
            write_bundle(out, with_self_test(draft, cache(open_embedder)))
    except ValueError as error:
        raise BadInput(str(error)) from error
    except PROBLEMS as error:
        refuse(error)
    unknown = sorted(set(found) - set(groups.home_of))
    if out is not None and unknown:
        say(f"{len(unknown)} products with pictures are not in the bundle, {unknown[0]} for one")
    result = {
        "groups": {g.name: list(g.categories) for g in grouping.groups},
        "products": {g.name: g.products for g in grouping.groups},
        "new": {name: asdict(one) for name, one in joined.items() if name in new},
        "router": routing,
        "report": str(report) if report else None,
        "bundle": str(out) if out else None,
        "in_bundle": {name: len(table) for name, table in tables.items()},
    }
    show(result, as_json)


def _of_one_model(bundle: Bundle) -> Groups:
    """Return a bundle's groups. Raises BundleError where they cannot be compared."""
    names = sorted({group.model.name for group in bundle.groups})
    if len(names) > 1:
        raise BundleError(
            f"{bundle.path}: its groups have different models ({', '.join(names)}), so that their "
            "products cannot be compared: group a bundle whose groups share one"
        )
    return Groups.of(bundle, cache(open_embedder))


def _places(
    grouping: Grouping, seen: Sequence[Category], groups: Groups, category_of: Mapping[str, str]
) -> tuple[dict[str, Joined], dict[str, str]]:
    """Return what becomes of categories that were not grouped, and the group of every category.

    seen: categories that pictures show. Others the bundle has are told by its table.
    """
    table = merged(list(groups.tables.values()))
    of_table = categories_of(np.asarray(table.centroids), table.skus, category_of)
    shown = {category.name for category in seen}
    places = {name: group.name for group in grouping.groups for name in group.categories}
    joined = {}
    for category in [*seen, *(c for c in of_table if c.name not in shown)]:
        if category.name in places:
            continue
        found = joined[category.name] = joining(grouping, category)
        places[category.name] = found.group or found.nearest
        if category.name in shown and found.group is None:
            places[category.name] = f"group-{len(set(places.values())) + 1}"
        elif category.name not in shown:
            say(f"no picture of category {category.name!r}: {found.reason}, put there")
    return joined, places


def _routes(
    tables: Mapping[str, GroupTable],
    group_of: Mapping[str, str],
    groups: Groups,
    query: Sequence[Path],
) -> tuple[Router, dict[str, Any] | None]:
    """Return a router over the tables, and how well it routes queries."""
    router = router_of(tables)
    if not query:
        return router, None
    asked = {sku: paths for sku, paths in find_pictures(query).items() if sku in group_of}
    rows, skus = _embedded(groups, asked)
    truth = [group_of[sku] for sku in skus]
    router, found = calibrated(router, rows, truth)
    return router, {**asdict(found), "margin": router.margin}


def _split(bundle: Bundle, tables: Mapping[str, GroupTable], router: Router) -> Draft:
    model = bundle.groups[0].model
    return replace(
        next_of(bundle, "group", groups=list(tables)),
        groups=[Group(name, model, table) for name, table in tables.items()],
        routes=Routes(model, router) if len(tables) > 1 else None,
    )


def _embedded(
    groups: Groups, pictures: Mapping[str, Sequence[Path]]
) -> tuple[NDArray[np.float32], list[str]]:
    asked = list(labelled(pictures))
    (model,) = set(groups.model_of.values())
    return groups.embedded([path for _, path in asked], model), [sku for sku, _ in asked]
