"""`shelfgate run`: the appliance, until it is told to stop."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from threading import Event
from types import FrameType

import click

from cloud_sync.logs import PlainLines, log_to_stderr
from edge.appliance import Appliance, ApplianceError
from edge.capture import CaptureError
from edge.config import ConfigError, load
from edge.detect import DetectorError
from edge.ledger import LedgerError
from edge.runtime import RuntimeUnavailable
from edge.status.server import PageError
from edge.supervisor import Supervisor
from edge.zones import ZoneError
from models.bundle import BundleError
from models.passing import cannot_start

SYNC_S = 30.0
LOOK_S = 0.1


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The configuration, see docs/edge.example.toml.",
)
@click.option(
    "--until-end", is_flag=True, help="Stop once every recording has ended and the hub has it all."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object once it is running.")
def run(config_path: Path, until_end: bool, as_json: bool) -> None:
    """Run the appliance: cameras in, cart lines out.

    Stops in good order at SIGTERM or Ctrl-C. Under systemd it says when it is up and gives signs of
    life while its parts work.

    Example: shelfgate run --config edge.toml
    """
    log_to_stderr(PlainLines())
    stop = Event()

    def ask_to_stop(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    appliance = started(config_path)
    supervisor = Supervisor()
    try:
        announce(appliance, as_json)
        supervisor.ready(f"the page is at {appliance.page.url}")
        while not stop.wait(LOOK_S):
            if appliance.well:
                supervisor.alive()
            if until_end and appliance.done:
                finish(appliance)
                break
    finally:
        supervisor.stopping()
        appliance.stop()


def started(config_path: Path) -> Appliance:
    """Start an appliance.

    Raises BadInput with one line for what somebody has to mend, ClickException for what may pass:
    under systemd it is tried again then.
    """
    try:
        appliance = Appliance(load(config_path))
        appliance.start()
    except (
        ApplianceError,
        BundleError,
        CaptureError,
        ConfigError,
        DetectorError,
        LedgerError,
        PageError,
        RuntimeUnavailable,
        ZoneError,
    ) as error:
        raise cannot_start(error) from error
    return appliance


def announce(appliance: Appliance, as_json: bool) -> None:
    """Say where the page is."""
    cameras = [worker.source.camera for worker in appliance.cameras]
    if as_json:
        click.echo(json.dumps({"page": appliance.page.url, "cameras": cameras}))
        sys.stdout.flush()
    else:
        click.echo(f"running with {', '.join(cameras)}; the page is at {appliance.page.url}")


def finish(appliance: Appliance) -> None:
    """Wait for the hub, and fail where anything fell short."""
    if appliance.agent is not None and not appliance.wait_until_synced(SYNC_S):
        raise click.ClickException("the hub did not take everything; it stays in the outbox")
    failed = [worker.source.camera for worker in appliance.cameras if worker.progress.failure]
    if failed:
        raise click.ClickException(f"stopped before its end: {', '.join(failed)}; see the log")
