"""`shelfgate models calibrate`: each category group's thresholds, from pictures of its products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import click

from edge.commands.upkeep import PROBLEMS, bundle_option, json_option, refuse, say, show
from edge.embed import open_embedder
from edge.enrolment import with_self_test, with_tables
from models.bad_input import a_number
from models.bundle import load_bundle
from models.bundle_writer import write_bundle
from models.calibrate import Calibration, Kind, Wanted, evidence, joined
from models.calibrate import calibrate as found_by
from models.groups import Groups
from models.packshots import with_gap
from models.pictures import PictureError, find_pictures, labelled
from models.table import GroupTable

_PATH = click.Path(path_type=Path)
_SHARE = click.FloatRange(0.0, 1.0)
_NAMED = 5

Pictures = Mapping[str, Sequence[Path]]


@click.command()
@bundle_option
@click.option("--query", multiple=True, required=True, type=_PATH, help="<sku>/*.jpg")
@click.option("--unknown", multiple=True, type=_PATH, help="Pictures of what is not sold.")
@click.option("--packshots", multiple=True, type=_PATH, help="<sku>.jpg of what it knows.")
@click.option("--out", required=True, type=_PATH, help="New bundle with the new thresholds.")
@click.option("--wrong", default=0.01, show_default=True, type=_SHARE,
              callback=a_number, help="Wrong accepts to bear, as a share.")  # fmt: skip
@click.option("--strangers", default=0.02, show_default=True, type=_SHARE,
              callback=a_number, help="Unknown accepts to bear.")  # fmt: skip
@click.option("--coverage", default=0.65, show_default=True, type=_SHARE,
              callback=a_number, help="Least share to accept.")  # fmt: skip
@click.option("--missed", default=0.01, show_default=True, type=_SHARE,
              callback=a_number, help="Wrong rejects to bear.")  # fmt: skip
@click.option("--confidence", default=0.6, show_default=True, type=_SHARE,
              callback=a_number, help="How sure to be of wrong and missed.")  # fmt: skip
@json_option
def calibrate(
    path: Path,
    query: tuple[Path, ...],
    unknown: tuple[Path, ...],
    packshots: tuple[Path, ...],
    out: Path,
    wrong: float,
    strangers: float,
    coverage: float,
    missed: float,
    confidence: float,
    as_json: bool,
) -> None:
    """Find thresholds from pictures that were not enrolled, and write a bundle with them.

    Each category group's are found with the pictures of its own products; a group without any keeps
    what it has. Products the bundle does not know are left out, and named.
    With --packshots also how far those lie from photographs, for products that have only those.

    Example: shelfgate models calibrate --query val/ --out bundle-2
    """
    wanted = Wanted(
        wrong=wrong, unknown=strangers, missed=missed, coverage=coverage, confidence=confidence
    )
    try:
        bundle = load_bundle(path)
        opens = cache(open_embedder)
        groups = Groups.of(bundle, opens)
        asked = find_pictures(query)
        left_out = sorted(set(asked) - set(groups.home_of))
        if len(left_out) == len(asked):
            raise PictureError(f"{query[0]}: the bundle knows none of these {len(asked)} products")
        if left_out:
            say(_told_left_out(left_out, asked))
        unsold, shots = find_pictures(unknown), find_pictures(packshots)
        if overlap := sorted(set(unsold) & set(groups.home_of)):
            raise PictureError(f"--unknown {overlap[0]}: the bundle knows it, so it is not unknown")
        found, tables = {}, {}
        for name in groups.tables:
            own = {sku: asked[sku] for sku in asked if groups.home_of.get(sku) == name}
            if not own:
                say(f"group {name}: no query shows its products: its thresholds stay")
                continue
            found[name], tables[name] = _calibrated(groups, name, own, unsold, shots, wanted)
        told = {name: asdict(one) for name, one in found.items()}
        draft = with_tables(bundle, groups.with_tables(tables), "calibrate", by_group=told)
        before = {k: v for k, v in draft.provenance.items() if k != "calibration"}
        draft = replace(draft, provenance=before)
        write_bundle(out, with_self_test(draft, opens))
    except PROBLEMS as error:
        refuse(error)
    alone = next(iter(told.values())) if len(groups.tables) == 1 else {}
    result = {"bundle": str(out), **alone, "by_group": told, "in_no_table": left_out}
    show(result if as_json or not alone else {"bundle": str(out), **alone}, as_json)


def _calibrated(
    groups: Groups, name: str, own: Pictures, unsold: Pictures, shots: Pictures, wanted: Wanted
) -> tuple[Calibration, GroupTable]:
    """Calibrate one group with pictures of its own products; return its table with what was found.

    unsold: pictures of what is not sold. shots: packshots, of its products among others.
    """
    table, embedder = groups.tables[name], groups.embedder(name)
    model = groups.model_of[name]
    rows = groups.embedded(_paths(own), model)
    skus = [sku for sku, _ in labelled(own)]
    known = evidence(table, rows, skus)
    others = evidence(table, rows, skus, without_own=True)
    if unsold:
        strange = groups.embedded(_paths(unsold), model)
        others = joined([others, evidence(table, strange, [""] * len(strange))])
    found = found_by([Kind(known, others)], wanted)
    table = table.with_thresholds(found.thresholds, found.yardstick)
    if shots:
        table = with_gap(table, embedder, shots, rows, skus)
    return found, table


def _paths(pictures: Pictures) -> list[Path]:
    return [path for _, path in labelled(pictures)]


def _told_left_out(skus: Sequence[str], asked: Pictures) -> str:
    count = sum(len(asked[sku]) for sku in skus)
    more = f" and {len(skus) - _NAMED} more" if len(skus) > _NAMED else ""
    return (
        f"{count} pictures left out, of products the bundle does not know: "
        f"{', '.join(skus[:_NAMED])}{more}; enrol those first, or give them as --unknown"
    )
