"""`shelfgate detector`: make material, train, export and judge detectors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from models.bad_input import BadInput
from models.detection import DetectorError
from models.detector_labels import MaterialError

FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
OUT = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@contextmanager
def _at_work() -> Iterator[None]:
    """Keep what the training packages print off stdout, and say bad input in one line."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (MaterialError, DetectorError) as error:
        raise BadInput(str(error)) from error


def _say(result: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(result) if as_json else text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def detector() -> None:
    """Train and judge the networks that find products, hands and people.

    Example: shelfgate detector material --data ../shared/data --teacher edge/detectors/yolox_nano
    --out build/detector
    """


@detector.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of video/, grocery/, weights/.")
@click.option("--teacher", type=FOLDER, required=True, help="YOLOX-Nano's folder.")
@click.option("--out", type=OUT, required=True, help="Where the pictures go.")
@click.option("--composites", default=900, show_default=True, help="Pictures to compose.")
@click.option("--simulated", type=FOLDER, multiple=True, help="A folder of `shelfgate simulate`.")
@click.option("--seed", default=1, show_default=True)
@json_option
def material(
    data: Path,
    teacher: Path,
    out: Path,
    composites: int,
    simulated: tuple[Path, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Make labelled pictures to train with, and others, kept apart, to judge by.

    Example: shelfgate detector material --data ../shared/data
    --teacher edge/detectors/yolox_nano --out build/detector
    """
    from models.detector_material import make

    console = Console(stderr=True)
    with _at_work(), console.status("making pictures") as status:
        made = make(
            data,
            teacher,
            out,
            composites=composites,
            simulated=simulated,
            seed=seed,
            progress=status.update,
        )
    _say(made, as_json, json.dumps(made, indent=1))


@detector.command()
@click.option("--material", type=FOLDER, required=True, help="What `detector material` made.")
@click.option("--out", type=OUT, required=True, help="Where weights go; goes on if cut off.")
@click.option("--start", type=FILE, help="ImageNet weights of MobileNetV2 (safetensors).")
@click.option("--weights", type=FILE, help="Trained weights (.pt) to go on from instead.")
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(min=1))
@click.option("--minutes", type=click.FloatRange(min=0.1), help="Stop after so long.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
@json_option
def train(
    material: Path,
    out: Path,
    start: Path | None,
    weights: Path | None,
    epochs: int,
    minutes: float | None,
    threads: int,
    as_json: bool,
) -> None:
    """Train our detector on a CPU, with ultralytics, from its yaml.

    Example: shelfgate detector train --material build/detector --out build/run --minutes 60
    --start ../shared/data/weights/mobilenet_v2_imagenet_fp16.safetensors
    """
    with _at_work():
        from models.detector_train import Plan, train

        plan = Plan(epochs=epochs, minutes=minutes, threads=threads, start=start, weights=weights)
        trained = train(material, out, plan)
    _say({"weights": str(trained)}, as_json, f"trained: {trained}")


@detector.command()
@click.argument("weights", type=FILE)
@click.option("--out", type=OUT, required=True, help="Receives fp16/ and int8/.")
@click.option("--pictures", type=FOLDER, help="A set of the material to calibrate INT8 with.")
@json_option
def export(weights: Path, out: Path, pictures: Path | None, as_json: bool) -> None:
    """Turn trained weights into OpenVINO IRs that the device runs.

    Example: shelfgate detector export build/run/weights/last.pt --out build/ours
    --pictures build/detector/train
    """
    with _at_work():
        from models.detector_export import export

        made = export(weights, out, pictures=pictures)
    said = {"fp16": str(made.fp16), "int8": str(made.int8) if made.int8 else None}
    _say(said, as_json, "\n".join(str(path) for path in said.values() if path))


@detector.command()
@click.argument("detectors", type=FOLDER, nargs=-1, required=True)
@click.option("--material", type=FOLDER, required=True, help="What `detector material` made.")
@click.option("--simulated", type=FOLDER, multiple=True, help="A folder of `shelfgate simulate`.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@json_option
def evaluate(
    detectors: tuple[Path, ...],
    material: Path,
    simulated: tuple[Path, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Judge one or more detectors on what was kept apart: average precision at overlap 0.5.

    Example: shelfgate detector evaluate edge/detectors/yolox_nano build/ours/int8
    --material build/detector
    """
    from models.detector_evaluate import evaluate, name_of, table

    with _at_work():
        results = [
            evaluate(each, material, simulated=simulated, threads=threads) for each in detectors
        ]
    names = [name_of(each) for each in detectors]
    _say({"detectors": results}, as_json, table(results, names))
