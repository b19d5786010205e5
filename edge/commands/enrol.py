"""`shelfgate enrol`: get this box its certificate by a one-time code."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cloud_sync.device.enrolment import EnrolmentError, enrol
from edge.cli import BadInput


@click.command("enrol")
@click.option("--hub", required=True, metavar="URL", help="The hub's API, https://...")
@click.option("--code", required=True, envvar="SHELFGATE_ENROLMENT_CODE",
              help="From `shelfgate hub provision device`.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("state/tls"),
              show_default=True, help="Where key and certificates are kept.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def enrol_command(hub: str, code: str, out: Path, as_json: bool) -> None:
    """Get this box its certificate by a one-time code; its key never leaves it.

    Example: shelfgate enrol --hub https://hub.example.com:8090 --code sgc_...
    """
    try:
        enrolled = enrol(hub.rstrip("/"), code, out)
    except EnrolmentError as error:
        raise BadInput(str(error)) from error
    where = out.absolute()
    if as_json:
        said = {"site": enrolled.site, "device": enrolled.device, "folder": str(where)}
        click.echo(json.dumps(said))
        return
    click.echo(f"This box is {enrolled.site}/{enrolled.device}. In edge.toml:\n")
    click.echo(f'[device]\nid = "{enrolled.device}"\nsite = "{enrolled.site}"\n')
    click.echo(f'[sync]\ntls_dir = "{where}"')
