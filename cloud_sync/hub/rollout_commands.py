"""`shelfgate hub rollout`: start one, watch it, stop it, take it back."""

from __future__ import annotations

import json
import time

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cloud_sync.hub import command_options as options
from cloud_sync.hub import fleet_answers as words
from cloud_sync.hub.fleet import FleetError
from cloud_sync.hub.rollout_plan import Plan, PlanError
from cloud_sync.hub.rollouts import Rollouts, RolloutView
from models.bad_input import BadInput

LOOK_S = 0.5
COLORS = {"done": "green", "running": "cyan", "paused": "yellow"}


@click.group()
def rollout() -> None:
    """Bring a bundle to devices, stage by stage.

    Example: shelfgate hub rollout start "grocery 12" --site store-1 --stage 1 --stage 100%
    """


@rollout.command()
@options.database_option
@click.argument("bundle")
@click.option("--site", help="For this store's devices only.")
@click.option("--label", help="For devices with this label only.")
@click.option("--group", help="For this group's devices only.")
@click.option("--stage", "stages", multiple=True, default=("1", "10%", "50%", "100%"),
              show_default=True, help="Devices that have it after a stage; repeat it.")  # fmt: skip
@click.option("--success", default=0.95, show_default=True,
              help="Share of a stage's online devices that must run it to go on.")  # fmt: skip
@click.option("--max-failed", default=0.02, show_default=True,
              help="Share of the devices that may fail; more, and it is called off.")  # fmt: skip
@click.option("--soak-s", default=600.0, show_default=True, help="Seconds a stage lasts at least.")
@options.json_option
def start(
    database: str,
    bundle: str,
    site: str | None,
    label: str | None,
    group: str | None,
    stages: tuple[str, ...],
    success: float,
    max_failed: float,
    soak_s: float,
    as_json: bool,
) -> None:
    """Begin a rollout of BUNDLE ("name version"); `hub serve` carries it on.

    Example: shelfgate hub rollout start "grocery 12" --label pilot --stage 2 --stage 100%
    """
    rollouts = Rollouts(options.opened(database))
    try:
        plan = Plan(site, label, group, stages, success, max_failed, soak_s)
        begun = rollouts.start(options.me(), bundle, plan)
    except (PlanError, FleetError) as error:
        raise BadInput(str(error)) from error
    _say(rollouts.view(begun), as_json)


@rollout.command("list")
@options.database_option
@options.json_option
def list_rollouts(database: str, as_json: bool) -> None:
    """List the rollouts, newest first."""
    found = Rollouts(options.opened(database)).all()
    rows = [words.rollout_answer(one).model_dump() for one in found]
    columns = ("id", "bundle", "state", "stage", "devices", "ok", "failed", "pending", "reason")
    options.show(rows, columns, as_json)


@rollout.command()
@options.database_option
@click.argument("rollout_id", metavar="ID")
@options.json_option
def show(database: str, rollout_id: str, as_json: bool) -> None:
    """Show a rollout's devices. Example: shelfgate hub rollout show r-12ab34cd."""
    rollouts = Rollouts(options.opened(database))
    view = _found(rollouts, rollout_id)
    rows = [words.rollout_device(*one).model_dump() for one in rollouts.devices(rollout_id)]
    if as_json:
        click.echo(json.dumps({**words.rollout_answer(view).model_dump(), "each": rows}))
        return
    _say(view, as_json=False)
    options.show(rows, ("site", "device", "stage", "given", "state", "bundle", "detail"), False)


@rollout.command()
@options.database_option
@click.argument("rollout_id", metavar="ID")
@options.json_option
def watch(database: str, rollout_id: str, as_json: bool) -> None:
    """Follow a rollout live, to its end; exit code 1 where it was called off.

    Example: shelfgate hub rollout watch r-12ab34cd
    """
    rollouts = Rollouts(options.opened(database))
    view = _found(rollouts, rollout_id)
    console = Console(stderr=True, highlight=False)
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as screen:
        while True:
            screen.update(_picture(view))
            if view.state not in ("running", "paused"):
                break
            time.sleep(LOOK_S)
            view = _found(rollouts, rollout_id)
    _say(view, as_json)
    if view.state != "done":
        raise click.ClickException(f"{view.state}: {view.reason}")


@rollout.command()
@options.database_option
@click.argument("rollout_id", metavar="ID")
def pause(database: str, rollout_id: str) -> None:
    """Let no further stage begin."""
    rollouts = Rollouts(options.opened(database))
    try:
        rollouts.pause(options.me(), rollout_id)
    except FleetError as error:
        raise BadInput(str(error)) from error


@rollout.command()
@options.database_option
@click.argument("rollout_id", metavar="ID")
def resume(database: str, rollout_id: str) -> None:
    """Go on."""
    rollouts = Rollouts(options.opened(database))
    try:
        rollouts.resume(options.me(), rollout_id)
    except FleetError as error:
        raise BadInput(str(error)) from error


@rollout.command()
@options.database_option
@click.argument("rollout_id", metavar="ID")
@click.option("--reason", default="", help="Why.")
def rollback(database: str, rollout_id: str, reason: str) -> None:
    """Give every device that had it the bundle from before."""
    rollouts = Rollouts(options.opened(database))
    try:
        rollouts.roll_back(options.me(), rollout_id, reason)
    except FleetError as error:
        raise BadInput(str(error)) from error


def _found(rollouts: Rollouts, rollout_id: str) -> RolloutView:
    try:
        return rollouts.view(rollout_id)
    except FleetError as error:
        raise BadInput(str(error)) from error


def _say(view: RolloutView, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(words.rollout_answer(view).model_dump()))
        return
    count = view.count
    click.echo(
        f"{view.id}: {view.bundle} is {view.state}, stage {view.stage + 1} of {len(view.sizes)}: "
        f"{count.ok} of {view.devices} run it, {count.failed} failed, {count.pending} not yet"
        + (f"; {view.reason}" if view.reason else "")
    )


def _picture(view: RolloutView) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for number, (share, size) in enumerate(zip(view.plan.stages, view.sizes, strict=True)):
        mark = ">" if number == view.stage else " "
        done = min(view.count.ok, size)
        table.add_row(mark, share, ProgressBar(size, done, width=40), f"{done}/{size}")
    head = Text(f"{view.id}  {view.bundle}  {view.state}", style=COLORS.get(view.state, "red"))
    tail = Text(f"failed {view.count.failed}, not yet {view.count.pending}  {view.reason}")
    return Group(head, table, tail)
