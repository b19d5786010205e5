"""`shelfgate models remove`: what keeps a bundle up to date beside enrolling and calibrating."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from edge.cli import BadInput
from edge.embed import open_embedder
from edge.runtime import RuntimeUnavailable
from models.bundle import DEFAULT_BUNDLE, BundleError, load_bundle
from models.catalogue import CatalogueError
from models.pictures import PictureError

PROBLEMS = (BundleError, CatalogueError, PictureError, RuntimeUnavailable)
_PATH = click.Path(path_type=Path)

bundle_option = click.option(
    "--bundle", "path", type=_PATH, default=DEFAULT_BUNDLE, help="Bundle; the default one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def refuse(error: Exception) -> NoReturn:
    """Turn what is wrong with the input into one line and exit code 2."""
    raise BadInput(str(error)) from error


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result for people, or as one JSON object."""
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for key, value in result.items():
        click.echo(f"{key}: {value}")


def say(text: str) -> None:
    """Say something on stderr."""
    Console(stderr=True).print(text, highlight=False, markup=False)


@click.command()
@click.argument("skus", nargs=-1, required=True)
@bundle_option
@click.option("--out", type=_PATH, help="New bundle; ./<bundle>-v<version> if not given.")
@json_option
def remove(skus: tuple[str, ...], path: Path, out: Path | None, as_json: bool) -> None:
    """Forget products: writes a new bundle without them, its models untouched.

    Example: shelfgate models remove old-milk old-juice --bundle bundle-2 --out bundle-3
    """
    from edge.enrolment import with_self_test, without_products
    from models.bundle_writer import write_bundle

    try:
        bundle = load_bundle(path)
        draft = without_products(bundle, skus)
        target = out or Path.cwd() / f"{bundle.bundle_id}-v{draft.version}"
        written = write_bundle(target, with_self_test(draft, cache(open_embedder)))
    except PROBLEMS as error:
        refuse(error)
    left = {group.name: len(group.table) for group in written.groups}
    show({"bundle": str(target), "version": written.version, "products": left}, as_json)
