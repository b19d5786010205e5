"""`shelfgate replay`: the same pipeline over a recording, as fast as it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge.capture import CaptureError
from edge.commands.bar import bar
from edge.config import CameraSettings, Config, ConfigError, default, load
from edge.detect import DetectorError
from edge.ledger import LedgerError
from edge.replay import Replayed, ReplayError
from edge.replay import replay as run_replay
from edge.runtime import RuntimeUnavailable
from edge.source import is_recording
from edge.zones import ZoneError, load_zones, zones_for
from models.bad_input import BadInput
from models.bundle import DEFAULT_BUNDLE, BundleError, load_bundle

CAMERA = "camera-1"


@click.command()
@click.argument("clip", type=str)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration.")
@click.option("--bundle", "bundle_path", type=click.Path(path_type=Path), help="Bundle directory.")
@click.option("--zones", "zones_path", type=click.Path(path_type=Path), help="zones.json.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for events and evidence.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    clip: str,
    config_path: Path | None,
    bundle_path: Path | None,
    zones_path: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the pipeline over the recording CLIP; print what was taken and what came back.

    CLIP is a file or the http address of one. Without --zones the whole frame is one shelf;
    without --bundle the default bundle decides.

    Example: shelfgate replay clip.mp4 --out results --json
    """
    try:
        if not clip.strip() or not is_recording(clip):
            raise BadInput(
                f"{clip!r}: a recording is expected, a file or the web address of one (.mp4, .mkv, "
                "...); `shelfgate run` watches cameras"
            )
        config = load(config_path) if config_path else default()
        camera = _camera(config, clip, zones_path)
        bundle = load_bundle(bundle_path or config.bundle.path or DEFAULT_BUNDLE)
        with _progress() as bar:
            task = bar.add_task("frames", total=None)
            result = run_replay(
                config, camera, bundle, out,
                lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
    except (
        BundleError, CaptureError, ConfigError, DetectorError, LedgerError, ReplayError,
        RuntimeUnavailable, ZoneError,
    ) as error:  # fmt: skip
        raise BadInput(str(error)) from error
    if result.cut:
        click.echo(result.cut, err=True)
    if as_json:
        click.echo(json.dumps(_document(result)))
    else:
        _show(result)


def _camera(config: Config, clip: str, zones_path: Path | None) -> CameraSettings:
    """Return the camera to replay as.

    The configuration's only one; of several, the one whose recording this is or that the clip is
    named after; else a plain one.
    """
    camera = CameraSettings(CAMERA, clip)
    ours = [one for one in config.cameras if one.id == Path(clip).stem or _is_file(one, clip)]
    if ours or len(config.cameras) == 1:
        camera = (ours or list(config.cameras))[0]
    if zones_path is not None:
        zones = zones_for(load_zones(zones_path), Path(clip).stem)
        camera = replace(camera, zones=zones or zones_for(load_zones(zones_path), camera.id))
    return replace(camera, source=clip, pace="fast")


def _is_file(camera: CameraSettings, clip: str) -> bool:
    return Path(camera.source).resolve() == Path(clip).resolve()


def _progress() -> Progress:
    columns = (TextColumn("replay"), BarColumn(), TextColumn("{task.completed} frames"),
               TimeRemainingColumn())  # fmt: skip
    return bar(*columns)


def _document(result: Replayed) -> dict[str, Any]:
    return {
        "events": result.events,
        "carts": result.carts,
        "report": result.report,
        "cut": result.cut,
    }


def _show(result: Replayed) -> None:
    table = Table("time", "kind", "zone", "product", "decision", "distance", "box")
    for event in result.events:
        table.add_row(
            f"{event['time_s']:.2f}", event["kind"], event["zone"], event["sku"] or "unknown",
            event["decision"], f"{event['distance']:.3f}",
            " ".join(str(round(value)) for value in event["box"]),
        )  # fmt: skip
    console = Console()
    console.print(table)
    for cart in result.carts:
        held = ", ".join(f"{line['quantity']} of {line['sku']}" for line in cart["lines"])
        waiting = len(cart["reviews"])
        asked = f"; {waiting} for a person to settle" if waiting else ""
        console.print(f"cart {cart['session']}: {held or 'empty'}{asked}", markup=False)
    report = result.report
    console.print(f"{report['frames']} frames in {report['wall_s']} s: {report['fps']} a second")
