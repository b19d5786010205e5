"""`shelfgate simulate`: write clips of a store that renders itself, with the truth about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from edge.commands.bar import bar
from edge.simulate.settings import Angle, Lighting, Occlusion, Settings, SimulationError
from edge.simulate.store import SimulatedStore
from edge.simulate.writer import Written, check_target, write
from models.bad_input import BadInput


@dataclass(frozen=True, slots=True)
class _Size:
    width: int
    height: int


class _SizeType(click.ParamType[_Size]):
    name = "WxH"

    def convert(self, value: Any, param: Any, ctx: Any) -> _Size:
        width, cross, height = str(value).partition("x")
        if not cross or not width.isdigit() or not height.isdigit():
            self.fail(f"{value!r} is no size: give it like 960x540", param, ctx)
        if int(width) % 2 or int(height) % 2:
            self.fail(f"{value!r}: width and height must be even numbers", param, ctx)
        return _Size(int(width), int(height))


class _DepthType(click.ParamType[tuple[int, int]]):
    name = "N or N-M"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        fewest, dash, most = str(value).partition("-")
        if not fewest.isdigit() or (dash and not most.isdigit()):
            self.fail(f"{value!r} is no depth: give it like 2-6", param, ctx)
        return int(fewest), int(most if dash else fewest)


def _choices(kind: type[Angle] | type[Lighting] | type[Occlusion]) -> click.Choice[str]:
    return click.Choice([str(value) for value in kind])


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New or empty folder.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same store, same pictures.")
@click.option("--shoppers", default=3, show_default=True, help="Visits during the clip.")
@click.option("--cameras", default=1, show_default=True, help="Clips to make.")
@click.option("--minutes", default=3.0, show_default=True, help="Length of each clip.")
@click.option("--lighting", default="steady", show_default=True, type=_choices(Lighting))
@click.option("--occlusion", default="light", show_default=True, type=_choices(Occlusion),
              help="How much people stand before the shelf.")  # fmt: skip
@click.option("--hands", default=1, show_default=True, help="2: some take with both at once.")
@click.option("--skus", default=40, show_default=True, help="Products in the catalogue.")
@click.option("--unknown", default=2, show_default=True, help="Products no catalogue knows.")
@click.option("--depth", default="1-6", show_default=True, type=_DepthType(),
              help="Items behind one another in a facing.")  # fmt: skip
@click.option("--angle", default="front", show_default=True, type=_choices(Angle),
              help="Where cameras hang; both: two on every shelf.")  # fmt: skip
@click.option("--lookalikes/--no-lookalikes", default=True, show_default=True,
              help="Products that differ only by flavour.")  # fmt: skip
@click.option("--products", type=click.Path(path_type=Path),
              help="Draw these pictures (<sku>.jpg or <sku>/*.jpg) on the packages.")  # fmt: skip
@click.option("--size", default="960x540", show_default=True, type=_SizeType())
@click.option("--fps", default=15.0, show_default=True)
@click.option("--jitter", "jitter_px", default=0.25, show_default=True, help="Shake, pixels.")
@click.option("--noise", default=2.5, show_default=True, help="Sensor noise, grey levels.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def simulate(out: Path, as_json: bool, size: _Size, **options: Any) -> None:
    """Render a store that is not there: clips of shelves and shoppers, with exact truth.

    Writes <camera>.mp4, truth.jsonl, zones.json, sessions.jsonl, catalog.csv and pictures to enrol
    (products/<sku>/*.jpg).

    Example: shelfgate simulate --out /tmp/store --seed 7 --minutes 1 --lighting changing
    """
    try:
        check_target(out)
        store = SimulatedStore(_settings(size, options))
        written = _write(store, out)
    except SimulationError as error:
        raise BadInput(str(error)) from error
    _tell(written, store, as_json)


def _settings(size: _Size, options: dict[str, Any]) -> Settings:
    kinds = {"lighting": Lighting, "occlusion": Occlusion, "angle": Angle}
    typed: dict[str, Any] = {
        name: kinds[name](value) if name in kinds else value for name, value in options.items()
    }
    return Settings(width=size.width, height=size.height, **typed)


def _write(store: SimulatedStore, out: Path) -> Written:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with bar(*columns) as progress:
        task = progress.add_task("frames", total=store.settings.frames)
        return write(store, out, lambda count: progress.update(task, completed=count))


def _tell(written: Written, store: SimulatedStore, as_json: bool) -> None:
    rate = written.frames * len(written.cameras) / max(written.wall_s, 1e-9)
    if as_json:
        facts = {
            "out": str(written.folder), "seed": store.settings.seed,
            "cameras": list(written.cameras), "frames": written.frames, "events": written.events,
            "products": written.products, "visits": len(store.visits),
            "wall_s": round(written.wall_s, 3), "fps": round(rate, 1),
        }  # fmt: skip
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{written.folder}: {len(written.cameras)} clip(s) of {written.frames} frames, "
        f"{written.events} events, {written.products} products ({rate:.0f} frames/s)"
    )
