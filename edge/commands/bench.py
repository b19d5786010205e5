"""`shelfgate bench`: measure speed and accuracy, and write the figures into docs/results.md.

The benchmarks lie in `tests/bench/bench_*.py` of a checkout, one function `run` each that returns
its figures; they are not installed with the product.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from models.bad_input import BadInput, a_number

ROOT = Path(__file__).parents[2]
PREFIX = "bench_"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark of the checkout. summary: the first line of what it says about itself."""

    name: str
    module: ModuleType

    @property
    def summary(self) -> str:
        """Return the first sentence of the module's docstring."""
        return (self.module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")

    def run(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Measure, with those of the options that this benchmark knows and the user gave."""
        known = inspect.signature(self.module.run).parameters
        given = {k: v for k, v in options.items() if k in known and v is not None}
        figures: dict[str, Any] = self.module.run(**given)
        return figures


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--list", "listing", is_flag=True, help="Say which benchmarks there are.")
@click.option("--clip", type=click.Path(path_type=Path), help="pipeline: the clip to run on.")
@click.option("--rounds", type=click.IntRange(min=1), help="pipeline: repetitions; 3.")
@click.option("--seeds", type=click.IntRange(min=1),
              help="store, detector: how many stores; 20, 4.")  # fmt: skip
@click.option("--first", type=click.IntRange(min=0),
              help="store, detector: seed of the first store; 0, 20.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0.1), callback=a_number,
              help="store, detector: length of each; 3.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="store, detector: processes; 2.")
@click.option("--material", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="detector: what `shelfgate detector material` made.")  # fmt: skip
@click.option("--detector", type=click.Path(path_type=Path, file_okay=False, exists=True),
              multiple=True, help="detector: a folder to compare with ours.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False),
              help="store: keep each seed's events here, and go on from them.")  # fmt: skip
@click.option("--write", is_flag=True, help="Put the figures into docs/results.md.")
@click.option("--check", is_flag=True, help="Exit with 1 where a target is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(
    names: tuple[str, ...],
    listing: bool,
    write: bool,
    check: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run benchmarks NAME ... (all, without a name) and print their figures.

    Example: shelfgate bench pipeline store --seeds 4 --minutes 1 --json
    """
    root = checkout()
    available = benchmark_names(root)
    unknown = [name for name in names if name not in available]
    if unknown:
        raise BadInput(f"no benchmark {unknown[0]!r}: there are {', '.join(available)}")
    if listing:
        _list([load(root, name) for name in names or available], as_json)
        return
    figures = {}
    for name in names or available:
        benchmark = load(root, name)
        click.echo(f"{name}: {benchmark.summary}", err=True)
        figures[name] = benchmark.run(options)
        if write:
            _write(root, benchmark, figures[name])
    if as_json:
        click.echo(json.dumps(figures))
    else:
        _show(root, figures)
    missed = [f"{name}: {line}" for name, f in figures.items() for line in f.get("short_of", ())]
    for line in missed:
        click.echo(f"falls short: {line}", err=True)
    if check and missed:
        sys.exit(1)


def checkout(root: Path = ROOT) -> Path:
    """Return the checkout's root. Raises BadInput where this is an installed package."""
    if not (root / "tests" / "bench").is_dir():
        raise BadInput(
            f"{root}: no tests/bench here: benchmarks are not installed, run `shelfgate bench` "
            "from a checkout of the repository (pip install --editable .)"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return root


def benchmark_names(root: Path) -> list[str]:
    """Return the names of the benchmarks in a checkout."""
    found = (root / "tests" / "bench").glob(f"{PREFIX}*.py")
    return sorted(path.stem.removeprefix(PREFIX) for path in found)


def load(root: Path, name: str) -> Benchmark:
    """Import a benchmark. Raises ClickException where a package it needs is not installed."""
    try:
        module = importlib.import_module(f"tests.bench.{PREFIX}{name}")
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"benchmark {name!r} needs the package {error.name!r}, which is not installed: "
            "pip install 'shelfgate[hub,train,dev]'"
        ) from error
    return Benchmark(name, module)


def _list(benchmarks: list[Benchmark], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({one.name: one.summary for one in benchmarks}))
        return
    for one in benchmarks:
        click.echo(f"{one.name}: {one.summary}")


def _write(root: Path, benchmark: Benchmark, figures: dict[str, Any]) -> None:
    results = importlib.import_module("tests.bench.results")
    markdown = getattr(benchmark.module, "markdown", results.as_table)
    path = root / "docs" / "results.md"
    try:
        results.put_section(path, benchmark.name, markdown(figures))
    except results.ResultsError as error:
        raise BadInput(str(error)) from error
    click.echo(f"{path}: section {benchmark.name} written", err=True)


def _show(root: Path, figures: dict[str, dict[str, Any]]) -> None:
    results = importlib.import_module("tests.bench.results")
    for name, found in figures.items():
        module = load(root, name).module
        markdown = getattr(module, "markdown", results.as_table)
        click.echo(f"\n{name}\n\n{markdown(found)}")
