"""`shelfgate models refresh`: new pictures in, a better bundle out, no person in between."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edge.cli import BadInput
from edge.commands.training import watched
from edge.commands.upkeep import PROBLEMS, bundle_option, json_option, refuse, say, show
from edge.embed import Embedder, open_embedder
from edge.gate import Gate
from edge.settled import SettledError, settled_pictures
from models.bundle import Bundle, Group, Model, load_bundle
from models.bundle_writer import draft_of
from models.catalogue import Catalogue, read_catalogue
from models.judging import Bar, Frozen, Pictures
from models.pictures import find_pictures
from models.refresh import Challenge, NoChallenger, Refreshed, Tools, refresh
from models.refresh_report import refresh_page
from models.releases import Releases

_PATH = click.Path(path_type=Path)
_NOBODY = "none"


@click.command("refresh")
@bundle_option
@click.option("--releases", "store", required=True, type=_PATH, help="Folder of releases.")
@click.option("--catalogue", type=_PATH, help="CSV: sku, name, category, ...")
@click.option("--pictures", multiple=True, type=_PATH, help="What came in: <sku>/*.jpg")
@click.option("--state", multiple=True, type=_PATH, help="A device's state, for settled reviews.")
@click.option("--query", multiple=True, type=_PATH, help="The frozen test: <sku>/*.jpg")
@click.option("--unknown", multiple=True, type=_PATH, help="And of what is not sold.")
@click.option("--training", multiple=True, type=_PATH, help="More a challenger may learn from.")
@click.option("--accuracy", default=0.91, show_default=True, help="A group's bar: top-1.")
@click.option("--selective", default=0.99, show_default=True, help="And right of the decided.")
@click.option("--challenger", metavar="MODULE:FUNCTION",
              help="Trains challengers, not the built-in trainer; none: nobody.")  # fmt: skip
@click.option("--recipe", type=_PATH, help="TOML: how the built-in trainer trains.")
@click.option("--keep", default=5, show_default=True, help="Old releases to keep.")
@click.option("--back", is_flag=True, help="Only make the release before the current one count.")
@json_option
def refresh_command(
    path: Path,
    store: Path,
    catalogue: Path | None,
    pictures: tuple[Path, ...],
    state: tuple[Path, ...],
    query: tuple[Path, ...],
    unknown: tuple[Path, ...],
    training: tuple[Path, ...],
    accuracy: float,
    selective: float,
    challenger: str | None,
    recipe: Path | None,
    keep: int,
    back: bool,
    as_json: bool,
) -> None:
    """Take in new pictures and settled reviews; publish what is better on the frozen test.

    New products are enrolled; pictures of known ones are added unless the test suffers; for a group
    below its bar a challenger is trained (needs the train extra), in the first --state or else in
    --releases, and takes over if it is better. The first release is --bundle. Pictures are taken
    once. A refresh that was cut off goes on with its training.

    Example: shelfgate models refresh --releases r --catalogue c.csv --pictures in --query test
    """
    try:
        releases = Releases(store, keep)
        if back:
            bundle = releases.back()
            show({"bundle": str(bundle.path), "version": bundle.version}, as_json)
            return
        if catalogue is None or not query:
            raise BadInput("refresh needs --catalogue and --query, or --back")
        champion = releases.current() or releases.publish(draft_of(load_bundle(path)))
        known = champion.catalogue.merged(read_catalogue(catalogue))
        work = (state[0] if state else store) / "challengers"
        challenge = _challenge(challenger, known, work, recipe)
        arrivals = _arrivals(pictures, state)
        outcome = refresh(
            champion,
            known,
            arrivals,
            Frozen(find_pictures(query), find_pictures(unknown)),
            Bar(accuracy, selective),
            Tools(_Opened(), Gate, challenge),
            taken=releases.taken(),
            training=find_pictures(training),
        )
        bundle = releases.publish(outcome.draft) if outcome.draft is not None else champion
        releases.take(outcome.taken)
        told = _reported(releases, bundle, outcome, arrivals)
    except (SettledError, *PROBLEMS) as error:
        refuse(error)
    except KeyboardInterrupt:
        raise click.ClickException(
            "stopped, nothing published; the same command goes on with its training"
        ) from None
    for step in outcome.steps:
        say(f"{step.what}: {step.why}")
    show(told if as_json else {k: v for k, v in told.items() if k != "steps"}, as_json)


def _arrivals(pictures: tuple[Path, ...], states: tuple[Path, ...]) -> dict[str, list[Path]]:
    """Return what came in and what devices had settled. Raises PictureError, SettledError."""
    arrivals = find_pictures(pictures)
    for folder in states:
        for sku, paths in settled_pictures(folder).items():
            arrivals.setdefault(sku, []).extend(paths)
    return arrivals


def _reported(
    releases: Releases, bundle: Bundle, outcome: Refreshed, arrivals: Pictures
) -> dict[str, Any]:
    """Write the report of a refresh; return what it says, and where it lies."""
    told = {
        "bundle": str(bundle.path),
        "version": bundle.version,
        "published": outcome.draft is not None,
        "steps": [asdict(step) for step in outcome.steps],
    }
    title = f"{bundle.bundle_id}: {'published' if told['published'] else 'kept'} {bundle.version}"
    came = sum(map(len, arrivals.values()))
    page = refresh_page(outcome.steps, title, f"{came} pictures of {len(arrivals)} products")
    return told | {"report": str(releases.report(told, page))}


class _Opened:
    """Opens each model once."""

    def __init__(self) -> None:
        self._known: dict[Path, Embedder] = {}

    def __call__(self, model: Model) -> Embedder:
        if model.openvino not in self._known:
            self._known[model.openvino] = open_embedder(model)
        return self._known[model.openvino]


def _challenge(
    name: str | None, catalogue: Catalogue, work: Path, recipe: Path | None
) -> Challenge | None:
    """Return the trainer of that name, the built-in one for None. Raises BadInput."""
    if name is None:
        return _built_in(catalogue, work, recipe)
    if recipe is not None:
        raise BadInput("--recipe is for the built-in trainer: give it without --challenger")
    if name == _NOBODY:
        return None
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"--challenger {name}: no such trainer: {error}") from error
    if not callable(found):
        raise BadInput(f"--challenger {name}: is no function")
    trainer: Challenge = found
    return trainer


def _built_in(catalogue: Catalogue, work: Path, recipe: Path | None) -> Challenge:
    """Return the built-in trainer, or what says which package it lacks. Raises BadInput."""
    try:
        from edge.challenger import Trainer, read_recipe
    except ModuleNotFoundError as error:
        lacks = f"training needs the package {error.name!r}: pip install 'shelfgate[train]'"

        def refused(group: Group, pictures: Pictures) -> None:
            raise NoChallenger(lacks)

        return refused
    return Trainer(catalogue, work, read_recipe(recipe), say, watched)
