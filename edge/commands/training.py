"""`shelfgate models check`, `train` and `export`: from pictures to a network and a bundle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge.cli import BadInput
from models.bad_input import a_number
from models.bundle import BundleError
from models.catalogue import Catalogue, CatalogueError, read_catalogue
from models.dataset import Report, check
from models.pictures import PictureError, find_pictures

if TYPE_CHECKING:
    from models.recipe import Recipe

_PATH = click.Path(path_type=Path)
_SHOWN = 50


@click.command("check")
@click.option("--catalogue", required=True, type=_PATH, help="CSV: sku, name, category, ...")
@click.option("--pictures", required=True, multiple=True, type=_PATH,
              help="<sku>/*.jpg; the first to train on, others to measure with.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_command(catalogue: Path, pictures: tuple[Path, ...], as_json: bool) -> None:
    """Look for what is wrong with a data set; exit code 1 where training with it would be wrong.

    Example: shelfgate models check --catalogue catalog.csv --pictures train --pictures test
    """
    try:
        splits = {str(folder): find_pictures([folder]) for folder in pictures}
        report = check(read_catalogue(catalogue), splits)
    except (CatalogueError, PictureError) as error:
        raise BadInput(str(error)) from error
    if as_json:
        click.echo(json.dumps(asdict(report), ensure_ascii=False))
    else:
        _show(report)
    if any(problem.serious for problem in report.problems):
        raise SystemExit(1)


def _show(report: Report) -> None:
    click.echo(f"{report.pictures} pictures of {report.products} products")
    for problem in report.problems[:_SHOWN]:
        click.echo(f"{problem.flaw}: {problem.what}: {problem.advice}")
    if len(report.problems) > _SHOWN:
        click.echo(f"... and {len(report.problems) - _SHOWN} more; --json lists all")
    for flaw, count in Counter(problem.flaw for problem in report.problems).items():
        click.echo(f"{count} x {flaw}")
    if not report.problems:
        click.echo("nothing wrong with them")


@click.command("train")
@click.option("--catalogue", required=True, type=_PATH, help="CSV: sku, name, category, ...")
@click.option("--pictures", required=True, multiple=True, type=_PATH, help="<sku>/*.jpg")
@click.option("--val", multiple=True, type=_PATH, help="Pictures to measure with, never learnt.")
@click.option("--category", multiple=True, help="Only products of these; all if not given.")
@click.option("--out", required=True, type=_PATH, help="Folder for checkpoint and network.pt.")
@click.option("--backbone", help="lite0, lite1, lite2, mobilenetv2, or a name of timm's; lite0.")
@click.option("--weights", help="A file to start from, instead of the backbone's own.")
@click.option("--scratch", is_flag=True, help="Start from random weights.")
@click.option("--loss", "losses", multiple=True, metavar="NAME[:WEIGHT]",
              help="triplet, softmax, or a class of pytorch-metric-learning.")  # fmt: skip
@click.option("--passes", type=int, help="How often every picture is seen; 14.")
@click.option("--side", type=int, help="Pixels a side of what the network sees; 224.")
@click.option("--dim", type=int, help="Length of an embedding; 256.")
@click.option("--products", type=int, help="P: products in a batch; 8.")
@click.option("--each", type=int, help="K: pictures of each; 4.")
@click.option("--rate", type=float, help="Learning rate of the last stage; 0.00025.")
@click.option("--frozen", type=int, help="Leading stages that are left as they are; 3.")
@click.option("--backgrounds", type=float, callback=a_number,
              help="Share of the views put before another background; 0.")  # fmt: skip
@click.option("--seed", type=int, help="Of everything that is drawn; 0.")
@click.option("--workers", type=int, help="Processes that read pictures; 0.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train_command(
    catalogue: Path,
    pictures: tuple[Path, ...],
    val: tuple[Path, ...],
    category: tuple[str, ...],
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a network that tells products apart; called again, it goes on where it stopped.

    Needs the train extra. On several GPUs: torchrun --nproc-per-node 4 -m edge models train ...

    Example: shelfgate models train --catalogue catalog.csv --pictures train --out trained
    """
    try:
        from models import train as training
        from models.backbone import BackboneError
        from models.checkpoint import CheckpointError
        from models.losses import LossError
        from models.processes import rank
        from models.recipe import RecipeError
        from models.train_data import TrainingDataError
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"training needs the package {error.name!r}: pip install 'shelfgate[train]'"
        ) from error
    problems = (BackboneError, CheckpointError, LossError, RecipeError, TrainingDataError)
    try:
        known = read_catalogue(catalogue)
        learnt = find_pictures(pictures)
        for sku in learnt:
            if sku not in known:
                raise CatalogueError(f"sku {sku!r} has pictures but is not in {catalogue}")
        held_back = find_pictures(val) if val else {}
        if category:
            learnt = _of_categories(learnt, known, category)
            held_back = {sku: paths for sku, paths in held_back.items() if sku in learnt}
        recipe = recipe_from(given)
        # Of several processes the first one speaks for all.
        with watched(recipe.passes) if rank() == 0 else nullcontext() as watch:
            trained = training.train(learnt, out, recipe, val=held_back, watch=watch)
    except (CatalogueError, PictureError, *problems) as error:
        raise BadInput(str(error)) from error
    except KeyboardInterrupt:
        raise click.ClickException(
            f"stopped; the same command goes on from the last pass in {out}"
        ) from None
    if rank() > 0:
        return
    written = str(out / training.NETWORK)
    recipe_used = trained.recipe.as_plain()
    result = {"network": written, "products": len(trained.skus), "recipe": recipe_used}
    click.echo(json.dumps(result) if as_json else written)


def _of_categories(
    pictures: dict[str, list[Path]], known: Catalogue, categories: tuple[str, ...]
) -> dict[str, list[Path]]:
    """Return the pictures of products of some categories. Raises CatalogueError."""
    there = {known[sku].category for sku in pictures}
    for category in categories:
        if category not in there:
            raise CatalogueError(
                f"--category {category!r}: no product with pictures is of it; "
                f"there are {', '.join(sorted(there))}"
            )
    return {sku: paths for sku, paths in pictures.items() if known[sku].category in categories}


@click.command("export")
@click.argument("network", type=_PATH)
@click.option("--catalogue", required=True, type=_PATH, help="CSV: sku, name, category, ...")
@click.option("--pictures", required=True, multiple=True, type=_PATH, help="<sku>/*.jpg to enrol.")
@click.option("--val", required=True, multiple=True, type=_PATH, help="Pictures to calibrate with.")
@click.option("--out", required=True, type=_PATH, help="The bundle to write.")
@click.option("--bits", type=click.Choice(["16", "8"]), default="16", show_default=True,
              help="What weights are stored in.")  # fmt: skip
@click.option("--int8", is_flag=True, help="Compute in 8 bits: quicker where the chip can.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export_command(
    network: Path,
    catalogue: Path,
    pictures: tuple[Path, ...],
    val: tuple[Path, ...],
    out: Path,
    bits: str,
    int8: bool,
    as_json: bool,
) -> None:
    """Bring a trained network to OpenVINO and ONNX, and make a bundle with it.

    Example: shelfgate models export trained/network.pt --catalogue catalog.csv --pictures train
    --val val --out bundle
    """
    try:
        from edge.default_build import bundle_trained
        from models.backbone import BackboneError
        from models.checkpoint import CheckpointError
        from models.quantise import QuantiseError
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"exporting needs the package {error.name!r}: pip install 'shelfgate[train]'"
        ) from error
    problems = (BackboneError, BundleError, CheckpointError, QuantiseError)
    console = Console(stderr=True)
    try:
        bundle = bundle_trained(
            network,
            out,
            find_pictures(pictures),
            find_pictures(val),
            read_catalogue(catalogue),
            lambda text: console.print(text, highlight=False, markup=False),
            bits=int(bits),
            int8=int8,
        )
    except (CatalogueError, PictureError, *problems) as error:
        raise BadInput(str(error)) from error
    result = {"bundle": str(out), "bundle_id": bundle.bundle_id, "products": len(bundle.catalogue)}
    click.echo(json.dumps(result) if as_json else f"{out}: {result['products']} products")


def recipe_from(given: dict[str, Any]) -> Recipe:
    """Return the default recipe with what was given instead. Raises RecipeError."""
    from models.losses import Term
    from models.recipe import Recipe, RecipeError

    names = {"rate": "learning_rate", "frozen": "frozen_stages", "each": "pictures"}
    settings = {names.get(k, k): v for k, v in given.items() if v is not None}
    losses = settings.pop("losses")
    if settings.pop("scratch"):
        settings |= {"pretrained": False, "pull": 0.0}
        settings.setdefault("frozen_stages", 0)
    if losses:
        pairs = [text.partition(":") for text in losses]
        try:
            terms = tuple(Term(name, float(weight or 1)) for name, _, weight in pairs)
        except ValueError as error:
            raise RecipeError(f"--loss takes NAME or NAME:WEIGHT: {error}") from error
        settings["losses"] = terms
    return Recipe(**settings)


@contextmanager
def watched(passes: int) -> Iterator[Callable[[int, int, int, float], None]]:
    """Show how far a training is and how long it has to go, as long as the context lasts."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("batches, pass {task.fields[number]}, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=None, number="-", loss=float("nan"))

        def watch(number: int, batch: int, batches: int, loss: float) -> None:
            progress.update(
                task,
                total=passes * batches,
                completed=number * batches + batch,
                number=f"{number + 1} of {passes}",
                loss=loss,
            )

        yield watch
