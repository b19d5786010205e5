"""`shelfgate models`: enrol, evaluate, look into a bundle, build the default one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import track

from edge.cli import BadInput
from edge.commands.calibration import calibrate
from edge.commands.grouping import group_command
from edge.commands.joining import join_command
from edge.commands.refresh import refresh_command
from edge.commands.training import check_command, export_command, train_command, watched
from edge.commands.upkeep import remove
from edge.embed import Recogniser, open_embedder
from edge.enrolment import Enrolled
from edge.panel import panel_of
from edge.runtime import RUNTIMES, RuntimeUnavailable
from models.bundle import DEFAULT_BUNDLE, Bundle, BundleError, load_bundle
from models.catalogue import CatalogueError, read_catalogue
from models.groups import Groups
from models.pictures import PictureError, find_pictures

_PROBLEMS = (BundleError, CatalogueError, PictureError, RuntimeUnavailable)
_EXISTING = click.Path(path_type=Path)

bundle_option = click.option(
    "--bundle", "path", type=_EXISTING, default=DEFAULT_BUNDLE, help="Bundle; the default one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
runtime_option = click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="openvino", show_default=True
)


def _refuse(error: Exception) -> NoReturn:
    raise BadInput(str(error)) from error


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False)


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for key, value in result.items():
        click.echo(f"{key}: {value}")


@click.group()
def models() -> None:
    """Enrol products, evaluate and calibrate, look into bundles.

    Example: shelfgate models enrol --catalogue catalog.csv --pictures pictures/
    """


models.add_command(remove)
models.add_command(calibrate)
models.add_command(group_command)
models.add_command(join_command)
models.add_command(refresh_command)
models.add_command(check_command)
models.add_command(train_command)
models.add_command(export_command)


@models.command()
@bundle_option
@click.option("--catalogue", required=True, type=_EXISTING, help="CSV: sku, name, category, ...")
@click.option("--pictures", required=True, multiple=True, type=_EXISTING, help="<sku>/*.jpg")
@click.option("--out", type=_EXISTING, help="New bundle; ./<bundle>-v<version> if not given.")
@click.option("--group", "group_name", help="Category group for all; each goes to its own.")
@click.option("--fresh", is_flag=True, help="Forget the bundle's own products.")
@click.option("--known", multiple=True, type=_EXISTING, help="Pictures of what the bundle knows.")
@click.option("--lookalikes", type=_EXISTING, help="Folder for look-alikes; <out>-lookalikes.")
@runtime_option
@json_option
def enrol(
    path: Path,
    catalogue: Path,
    pictures: tuple[Path, ...],
    out: Path | None,
    group_name: str | None,
    fresh: bool,
    known: tuple[Path, ...],
    lookalikes: Path | None,
    runtime: str,
    as_json: bool,
) -> None:
    """Make products known from their pictures, without training: writes a new bundle.

    Each goes to the category group that has its category, else to the one it looks most like.
    Pictures that look like none of the others are left out. Where a product can hardly be told
    from another, both are written side by side; --known holds pictures of what is known already.

    Example: shelfgate models enrol --catalogue new.csv --pictures new/ --out bundle-2
    """
    from edge.enrolment import enrol_products, with_self_test
    from models.bundle_writer import write_bundle

    started = time.perf_counter()
    try:
        bundle = load_bundle(path)
        added, found = read_catalogue(catalogue), find_pictures(pictures)
        if group_name is not None:
            _check_group(bundle, group_name)
        opens = cache(partial(open_embedder, runtime=runtime))
        progress = track(found.items(), "enrolling", console=Console(stderr=True), disable=as_json)
        draft, reports = enrol_products(
            bundle, opens, added, progress,
            into=group_name, fresh=fresh, known=find_pictures(known),
        )  # fmt: skip
        target = out or Path.cwd() / f"{bundle.bundle_id}-v{draft.version}"
        written = write_bundle(target, with_self_test(draft, opens))
        beside = lookalikes or target.with_name(f"{target.name}-lookalikes")
        shown = _write_lookalikes(beside, reports)
    except _PROBLEMS as error:
        _refuse(error)
    for report in reports:
        for warning in report.warnings:
            _say(f"{report.sku}: {warning}")
        if report.sku in shown:
            _say(f"{report.sku}: both pictures: {shown[report.sku]}")
    result = {
        "bundle": str(target),
        "bundle_id": written.bundle_id,
        "version": written.version,
        "products": sum(len(group.table) for group in written.groups),
        "groups": {group.name: len(group.table) for group in written.groups},
        "enrolled": [_told(report, shown) for report in reports],
        "seconds": round(time.perf_counter() - started, 3),
    }
    _print(result, as_json)


@models.command()
@bundle_option
@click.option("--catalogue", required=True, type=_EXISTING, help="CSV: sku, name, category, ...")
@click.option("--enrol", "enrolled", multiple=True, required=True, type=_EXISTING)
@click.option("--query", multiple=True, required=True, type=_EXISTING)
@click.option("--unknown", multiple=True, type=_EXISTING)
@click.option("--report", type=_EXISTING, help="Write an HTML page too, which stands alone.")
@runtime_option
@json_option
def evaluate(
    path: Path,
    catalogue: Path,
    enrolled: tuple[Path, ...],
    query: tuple[Path, ...],
    unknown: tuple[Path, ...],
    report: Path | None,
    runtime: str,
    as_json: bool,
) -> None:
    """Ask a bundle for products whose answer is known; folders hold <sku>/*.jpg.

    Enrols what the bundle does not hold first. Asks as a device does: where there are several
    category groups, as the router says; then figures are told by group too.

    Example: shelfgate models evaluate --catalogue catalog.csv --enrol new --query asked --json
    """
    from models.evaluate import Questions, evaluated
    from models.report import evaluation_page

    try:
        bundle = load_bundle(path)
        asked = Questions(
            catalogue=read_catalogue(catalogue),
            enrol=find_pictures(enrolled),
            query=find_pictures(query),
            unknown=find_pictures(unknown),
            trained=frozenset().union(*(group.model.trained_skus for group in bundle.groups)),
        )
        groups = Groups.of(bundle, cache(partial(open_embedder, runtime=runtime)))
        outcome = evaluated(groups, asked, panel_of)
        if report is not None:
            title = f"{bundle.bundle_id} version {bundle.version}"
            text = evaluation_page(outcome, asked.catalogue, asked.enrol, title)
            report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{report}: {error.strerror or error}") from error
    except _PROBLEMS as error:
        _refuse(error)
    if count := outcome.figures["counts"]["in_no_table"]:
        _say(f"{count} queries show products that are in no table and were not enrolled: all wrong")
    _print(outcome.figures, as_json)


@models.command("bundle")
@click.argument("path", type=_EXISTING, default=DEFAULT_BUNDLE)
@runtime_option
@json_option
def show(path: Path, runtime: str, as_json: bool) -> None:
    """Verify a bundle, run its self-test on this box, and say what it holds.

    Example: shelfgate models bundle ./bundle-2
    """
    try:
        bundle = load_bundle(path)
        Recogniser(bundle, runtime=runtime).check()
    except _PROBLEMS as error:
        _refuse(error)
    result = {
        "bundle_id": bundle.bundle_id,
        "version": bundle.version,
        "created": bundle.created,
        "digest": bundle.digest,
        "groups": {group.name: len(group.table) for group in bundle.groups},
        "products": len(bundle.catalogue),
        "self_tests": len(bundle.self_tests),
        "licences": dict(bundle.licences),
    }
    _print(result, as_json)


@models.command("build-default")
@click.option("--grocery", required=True, type=_EXISTING, help="Data set: catalog.csv, trained/.")
@click.option("--out", type=_EXISTING, default=DEFAULT_BUNDLE, show_default=True)
@click.option("--work", type=_EXISTING, default=Path("default-training"), show_default=True,
              help="Folder the training is kept in; one that stopped goes on.")  # fmt: skip
@json_option
def build_default(grocery: Path, out: Path, work: Path, as_json: bool) -> None:
    """Build the bundle that comes with the package; needs the train extra, trains for long.

    Example: shelfgate models build-default --grocery ../shared/data/grocery --out bundle
    """
    try:
        from edge.default_build import build
        from models.default_settings import Settings
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"building needs the package {error.name!r}: pip install 'shelfgate[train]'"
        ) from error
    try:
        settings = Settings()
        with watched(sum(recipe.passes for recipe in settings.recipes)) as watch:
            bundle = build(grocery, out, work, _say, watch, settings)
    except _PROBLEMS as error:
        _refuse(error)
    _print({"bundle": str(out), "products": len(bundle.catalogue), **bundle.provenance}, as_json)


def _write_lookalikes(folder: Path, reports: Sequence[Enrolled]) -> dict[str, Path]:
    """Write pairs of pictures and return their paths by sku; no folder where there are none."""
    found = {}
    for report in reports:
        if report.beside:
            folder.mkdir(parents=True, exist_ok=True)
            found[report.sku] = folder / f"{report.sku}-beside-{report.confused_with}.jpg"
            found[report.sku].write_bytes(report.beside)
    return found


def _told(report: Enrolled, shown: dict[str, Path]) -> dict[str, Any]:
    pair = shown.get(report.sku)
    return {**asdict(report), "beside": str(pair) if pair else None}


def _check_group(bundle: Bundle, name: str) -> None:
    try:
        bundle.group(name)
    except KeyError:
        known = ", ".join(group.name for group in bundle.groups)
        raise BundleError(f"{bundle.path}: no group {name!r}; it has {known}") from None
