"""What the pipeline makes of simulated stores: precision, recall, products, by difficulty.

Each seed is a store of another difficulty; its products are enrolled from its enrolment pictures
and its frames are fed to two pipelines, one with the detector and one without. Called by
`shelfgate bench store`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edge.config import DetectorSettings
from tests.bench.results import table
from tests.bench.scoring import score
from tests.bench.simulated import MODES, Outcome, run_seed, settings_for

ROOT = Path(__file__).parents[2]
TARGETS = (
    ("with_detector", "precision", 0.98),
    ("with_detector", "recall", 0.98),
    ("with_detector", "product_right", 0.97),
    ("without_detector", "recall", 0.95),
)
DEEP_RECALL = 0.90

_done: Any = None


def run(
    seeds: int = 20,
    minutes: float = 3.0,
    jobs: int = 2,
    keep: Path | None = None,
    first: int = 0,
) -> dict[str, Any]:
    """Simulate, decide and score.

    seeds: how many stores. first: seed of the first. minutes: length of each. jobs: processes.
    keep: folder for each seed's events; seeds that this very code has run already are taken from
    it.
    """
    outcomes = sorted(
        _outcomes(first, seeds, minutes, jobs, keep), key=lambda outcome: outcome["seed"]
    )
    figures: dict[str, Any] = {"first": first, "seeds": seeds, "minutes": minutes}
    figures |= {mode: score(outcomes, mode) for mode in MODES}
    figures["short_of"] = short_of(figures)
    return figures


def _outcomes(
    first: int, seeds: int, minutes: float, jobs: int, keep: Path | None
) -> Iterator[Outcome]:
    numbers = range(first, first + seeds)
    names = {seed: f"{_code()}-{minutes:g}min-seed{seed}.json" for seed in numbers}
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for seed, name in list(names.items()):
            if (keep / name).is_file():
                yield json.loads((keep / name).read_text(encoding="utf-8"))
                del names[seed]
    for outcome in stores(list(names), minutes, jobs):
        if keep is not None:
            (keep / names[outcome["seed"]]).write_text(json.dumps(outcome), encoding="utf-8")
        yield outcome


def stores(
    seeds: Sequence[int], minutes: float, jobs: int, modes: Mapping[str, DetectorSettings] = MODES
) -> Iterator[Outcome]:
    """Run stores in processes of their own, with a bar on stderr; give each as it is done."""
    if not seeds:
        return
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    total = sum(settings_for(seed, minutes).frames for seed in seeds)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} frames"),
               TimeRemainingColumn())  # fmt: skip
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ProcessPoolExecutor(min(jobs, len(seeds)), context, _start, (done,)) as pool,
    ):
        task = bar.add_task(f"{len(seeds)} stores", total=total)
        waiting: set[Future[Outcome]] = {pool.submit(_seed, seed, minutes, modes) for seed in seeds}
        while waiting:
            finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            bar.update(task, completed=done.value)
            for future in finished:
                yield future.result()


def _start(done: Any) -> None:
    global _done
    _done = done
    cv2.setNumThreads(1)


def _seed(seed: int, minutes: float, modes: Mapping[str, DetectorSettings]) -> Outcome:
    def advance(frames: int) -> None:
        with _done.get_lock():
            _done.value += frames

    return run_seed(seed, minutes, advance, modes)


def _code() -> str:
    """Return what the events depend on beside the seed: our code and the default bundle."""
    digest = hashlib.sha256()
    files = [*ROOT.glob("edge/**/*.py"), *ROOT.glob("models/**/*.py"),
             *ROOT.glob("edge/detectors/*/*"), ROOT / "tests/bench/simulated.py",
             ROOT / "models/default_bundle/manifest.json"]  # fmt: skip
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def short_of(figures: dict[str, Any]) -> list[str]:
    """Return one line for each target that is missed."""
    lines = [
        f"{name} {mode.replace('_', ' ')} {figures[mode][name]}, wanted {target}"
        for mode, name, target in TARGETS
        if figures[mode][name] is not None and figures[mode][name] < target
    ]
    for mode in MODES:
        if figures[mode]["unknown_charged"]:
            lines.append(f"{figures[mode]['unknown_charged']} unknown items charged {mode}")
        for row in figures[mode]["rows"]:
            if "two or more deep" in row["value"] and (row["recall"] or 1.0) < DEEP_RECALL:
                lines.append(f"recall {row['recall']} of {row['value']} {mode}")
    return lines


def markdown(figures: dict[str, Any]) -> str:
    """Return the section of docs/results.md."""
    columns = ("truth", "found", "precision", "recall", "product_right", "charged_share",
               "unknown_charged")  # fmt: skip
    header = ("true events", "found", "precision", "recall", "product right", "charged at once",
              "unknown charged")  # fmt: skip
    blocks = [f"{figures['seeds']} stores of {figures['minutes']:g} minutes from seed "
              f"{figures['first']} on, 40 products each. "
              "An event counts where kind, time (1.5 s) and place are right, one to one. "
              "Product right: of the events charged. "
              "Extras have no look-alike, depth or kind: no precision there."]  # fmt: skip
    for mode in MODES:
        found = figures[mode]
        rows = [("all", *_cells(found, columns))]
        rows += [
            (f"{row['difficulty']}: {row['value']}", *_cells(row, columns)) for row in found["rows"]
        ]
        title = mode.replace("_", " ").capitalize()
        late = f"95% of events are decided within {found['late_p95_s']} s."
        blocks.append(f"**{title}.** {late}\n\n{table(('', *header), rows)}")
    return "\n\n".join(blocks)


def _cells(figures: dict[str, Any], columns: tuple[str, ...]) -> list[str]:
    return ["-" if figures[name] is None else str(figures[name]) for name in columns]
