"""`shelfgate models join`: bundles of one model each become one bundle with a model per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from edge.cli import BadInput
from edge.commands.upkeep import PROBLEMS, json_option, refuse, say, show
from edge.embed import Embedder, Recogniser, open_embedder
from models.asks import embedded
from models.bundle import Bundle, BundleError, Routes, load_bundle
from models.bundle_writer import Draft, write_bundle
from models.groups import middle_of
from models.join import joined, router_over, unplaced
from models.pictures import PictureError, find_pictures, labelled, read_picture
from models.router import Router, calibrated
from models.yardstick import MOST_LEAD

_PATH = click.Path(path_type=Path)
Pictures = Mapping[str, Sequence[Path]]


@click.command("join")
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="BUNDLE BUNDLE [BUNDLE...]")
@click.option("--out", required=True, type=_PATH, help="The bundle to write.")
@click.option("--pictures", multiple=True, type=_PATH, help="<sku>/*.jpg, to make a router from.")
@click.option("--query", multiple=True, type=_PATH, help="Others: calibrate and measure with.")
@click.option("--router", "by", type=_PATH, help="Bundle whose network routes; the first.")
@json_option
def join_command(
    paths: tuple[Path, ...],
    out: Path,
    pictures: tuple[Path, ...],
    query: tuple[Path, ...],
    by: Path | None,
    as_json: bool,
) -> None:
    """Put bundles together to one with all their groups, each with its own model and thresholds.

    With --pictures of the products one network says which group to ask first; it is sure of that
    only as far as --query shows that it may be. Otherwise all groups are asked, and two that know
    an item make a review. Half of --query calibrates the router, the rest measures it.

    Example: shelfgate models join drinks/bundle fruit/bundle --pictures train --query val --out all
    """
    try:
        if len(paths) < 2:
            raise BadInput("join needs two bundles or more")
        bundles = [load_bundle(path) for path in paths]
        draft = joined(bundles, out.resolve().name)
        asked = _known(find_pictures(query), draft)
        routing = None
        if pictures:
            base = _base(paths, by, bundles)
            draft, routing = _routed(draft, base, _known(find_pictures(pictures), draft), asked)
        elif by is not None:
            raise BadInput("--router needs --pictures of the products")
        else:
            say("no router, for there are no --pictures: all groups are asked about each item")
        written = write_bundle(out, draft)
        recogniser = Recogniser(written)
        recogniser.check()
        measured = _measured(recogniser, asked)
    except PROBLEMS as error:
        refuse(error)
    result = {
        "bundle": str(out),
        "bundle_id": written.bundle_id,
        "version": written.version,
        "groups": {group.name: len(group.table) for group in written.groups},
        "products": len(written.catalogue),
        "router": routing,
        "measured": measured,
    }
    show(result, as_json)


def _known(pictures: Pictures, draft: Draft) -> dict[str, Sequence[Path]]:
    """Return pictures of what the bundle knows, and say what is passed over."""
    known = {sku for group in draft.groups for sku in group.table.skus}
    strange = [sku for sku in pictures if sku not in known]
    if strange:
        others = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        say(f"passed over, for no bundle knows them: pictures of {strange[0]}{others}")
    return {sku: paths for sku, paths in pictures.items() if sku in known}


def _base(paths: Sequence[Path], by: Path | None, bundles: Sequence[Bundle]) -> int:
    """Return the number of the first group of the bundle whose network routes."""
    places = [path.resolve() for path in paths]
    if by is None:
        return 0
    if by.resolve() not in places:
        raise BundleError(f"--router {by}: is none of the bundles that are joined")
    return sum(len(bundle.groups) for bundle in bundles[: places.index(by.resolve())])


def _routed(
    draft: Draft, base: int, pictures: Pictures, asked: Pictures
) -> tuple[Draft, dict[str, Any]]:
    """Return the draft with a router by a group's model, and how well it routes what is asked.

    Raises PictureError where a product of another model has no pictures.
    """
    model = draft.groups[base].model
    wanted = unplaced(draft.groups, model)
    missing = [sku for sku in wanted if sku not in pictures]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise PictureError(
            f"no pictures of {missing[0]}{others}: a router needs some of each product of the "
            "other bundles; without --pictures there is none, and all groups are asked"
        )
    embedder = open_embedder(model)
    middles = {sku: middle_of(embedder, map(read_picture, pictures[sku])) for sku in wanted}
    router = router_over(draft.groups, model, middles)
    told: dict[str, Any] = {}
    if sum(map(len, asked.values())) > 1:
        router, told = _calibrated(router, embedder, asked, draft)
    if router.margin >= MOST_LEAD:
        say("the router is never sure: it takes more --query to show that it may be; all are asked")
    told["margin"] = router.margin
    return replace(draft, routes=Routes(model, router)), told


def _calibrated(
    router: Router, embedder: Embedder, asked: Pictures, draft: Draft
) -> tuple[Router, dict[str, Any]]:
    """Return the router with a margin from every other query, and how it does on the rest."""
    shown = list(labelled(asked))
    home = {sku: group.name for group in draft.groups for sku in group.table.skus}
    rows = embedded(embedder, (read_picture(path) for _, path in shown))
    router, found = calibrated(router, rows, [home[sku] for sku, _ in shown])
    return router, asdict(found)


def _measured(recogniser: Recogniser, asked: Pictures) -> dict[str, Any] | None:
    """Return how much of what is asked is decided, and how much of that rightly."""
    found = [(sku, recogniser.decide([read_picture(path)]).sku) for sku, path in labelled(asked)]
    decided = [sku == answer for sku, answer in found if answer is not None]
    if not found:
        return None
    right = round(sum(decided) / len(decided), 4) if decided else None
    return {"queries": len(found), "coverage": round(len(decided) / len(found), 4), "right": right}
