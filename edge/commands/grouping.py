"""`shelfgate models group`: category groups by how alike they look, and the router between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edge.cli import BadInput
from edge.commands.upkeep import PROBLEMS, bundle_option, json_option, refuse, show
from edge.embed import Embedder, open_embedder
from edge.enrolment import with_self_test
from models.bundle import Bundle, Group, Routes, load_bundle
from models.bundle_writer import Draft, draft_of, write_bundle
from models.catalogue import CatalogueError, read_catalogue
from models.pictures import find_pictures, labelled, read_picture
from models.router import Router, routed, router_of, with_margin

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
    pictures and measured on the rest.

    Example: shelfgate models group --catalogue c.csv --pictures train --query val --report g.html
    """
    from models.grouping import Bounds, categories_of, group_categories, joining
    from models.grouping_report import grouping_page

    try:
        bundle = load_bundle(path)
        embedder = open_embedder(bundle.groups[0].model)
        found, known = find_pictures(pictures), read_catalogue(catalogue)
        missing = sorted(set(found) - set(known))
        if missing:
            raise CatalogueError(f"sku {missing[0]!r} has pictures but is not in the catalogue")
        category_of = {sku: product.category for sku, product in known.items()}
        rows, skus = _embedded(embedder, found)
        whole = categories_of(rows, skus, category_of)
        grouping = group_categories([c for c in whole if c.name not in new], Bounds(least, most))
        joined = {c.name: asdict(joining(grouping, c)) for c in whole if c.name in new}
        group_of = {
            sku: grouping.group_of(category_of[sku]).name
            for sku in found
            if category_of[sku] not in new
        }
        router, routing = _routes(bundle, group_of, embedder, query)
        if report is not None:
            told = f"{len(whole)} categories in {len(grouping.groups)} groups of {least} to {most}"
            report.write_text(grouping_page(grouping, found, category_of, told), encoding="utf-8")
        if out is not None:
            write_bundle(out, with_self_test(_split(bundle, group_of, router), embedder))
    except ValueError as error:
        raise BadInput(str(error)) from error
    except PROBLEMS as error:
        refuse(error)
    result = {
        "groups": {g.name: list(g.categories) for g in grouping.groups},
        "products": {g.name: g.products for g in grouping.groups},
        "new": joined,
        "router": routing,
        "report": str(report) if report else None,
        "bundle": str(out) if out else None,
    }
    show(result, as_json)


def _routes(
    bundle: Bundle, group_of: dict[str, str], embedder: Embedder, query: Sequence[Path]
) -> tuple[Router, dict[str, Any] | None]:
    """Return a router over the bundle's products, and how well it routes queries."""
    tables = {group.name: group.table for group in _grouped(bundle, group_of)}
    router = router_of(tables)
    if not query:
        return router, None
    asked = {sku: paths for sku, paths in find_pictures(query).items() if sku in group_of}
    rows, skus = _embedded(embedder, asked)
    truth = [group_of[sku] for sku in skus]
    half = np.arange(len(truth)) % 2 == 0
    router = with_margin(router, rows[half], truth[::2])
    return router, {**asdict(routed(router, rows[~half], truth[1::2])), "margin": router.margin}


def _grouped(bundle: Bundle, group_of: dict[str, str]) -> list[Group]:
    """Return the products of the bundle's first group in theirs; what has none keeps the first."""
    source = bundle.groups[0]
    names = sorted(set(group_of.values()))
    home = {sku: group_of.get(sku, names[0]) for sku in source.table.skus}
    return [
        Group(name, source.model, source.table.without([s for s in home if home[s] != name]))
        for name in names
    ]


def _split(bundle: Bundle, group_of: dict[str, str], router: Router) -> Draft:
    groups = _grouped(bundle, group_of)
    routes = Routes(groups[0].model, router) if len(groups) > 1 else None
    draft = draft_of(bundle)
    return replace(
        draft, version=bundle.version + 1, created="", groups=groups, routes=routes, self_test=()
    )


def _embedded(
    embedder: Embedder, pictures: dict[str, list[Path]]
) -> tuple[NDArray[np.float32], list[str]]:
    asked = list(labelled(pictures))
    rows = np.stack(list(embedder.embed_many(read_picture(path) for _, path in asked)))
    return rows, [sku for sku, _ in asked]
