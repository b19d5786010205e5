"""`shelfgate doctor`: what is missing or wrong on this box, and what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.config import ConfigError, default, load
from edge.doctor import Finding, Outcome, checks
from models.bad_input import BadInput

MARKS = {
    Outcome.OK: "[green]ok[/]",
    Outcome.WARNING: "[yellow]warning[/]",
    Outcome.FAILED: "[red]failed[/]",
}


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The configuration to check, with its cameras; without it, the defaults.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def doctor(config_path: Path | None, as_json: bool) -> None:
    """Say what is missing or wrong on this box, and what to do.

    Ends with 0 where it is ready to run, with 1 where a check failed, with 2 where the
    configuration cannot be read.

    Example: shelfgate doctor --config edge.toml
    """
    try:
        config = load(config_path) if config_path else default()
    except ConfigError as error:
        raise BadInput(str(error)) from error
    findings = []
    with Console(stderr=True).status("looking over this box") as status:
        for name, check in checks(config):
            status.update(f"checking {name}")
            findings.append(check())
    failed = any(finding.outcome is Outcome.FAILED for finding in findings)
    if as_json:
        report = {"ok": not failed, "checks": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(report, indent=2))
    else:
        show(findings)
    sys.exit(1 if failed else 0)


def show(findings: list[Finding]) -> None:
    """Print findings for a person."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n{finding.advice}", style="bold")
        table.add_row(MARKS[finding.outcome], finding.check, text)
    Console().print(table, soft_wrap=False)
