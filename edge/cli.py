"""The `shelfgate` command.

Names every command and where it lives; a command's module is imported only when that command is
called, so that the device never loads what only the hub or the training needs.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from models.bad_input import BadInput

__all__ = ["BadInput", "LazyGroup", "main"]

COMMANDS = {
    "run": "edge.commands.run:run",
    "replay": "edge.commands.replay:replay",
    "demo": "edge.commands.demo:demo",
    "simulate": "edge.commands.simulate:simulate",
    "doctor": "edge.commands.doctor:doctor",
    "enrol": "edge.commands.enrol:enrol_command",
    "bench": "edge.commands.bench:bench",
    "models": "edge.commands.models:models",
    "detector": "models.detector_commands:detector",
    "hub": "cloud_sync.hub.commands:hub",
}

SUMMARIES = {
    "run": "Run the appliance: cameras in, carts out.",
    "replay": "Run the same pipeline over a recording, as fast as it goes.",
    "demo": "Show a whole store on this machine.",
    "simulate": "Render a store with exact ground truth.",
    "doctor": "Say what is missing or wrong on this box, and what to do.",
    "enrol": "Get this box its certificate for the hub by a one-time code.",
    "bench": "Measure speed and accuracy.",
    "models": "Train, enrol, calibrate, evaluate and bundle recognition models.",
    "detector": "Train, evaluate and export the detector.",
    "hub": "Run the hub and steer the fleet.",
}

EXTRAS = {"detector": "train", "hub": "hub", "demo": "hub"}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def __init__(self, *args: Any, targets: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._targets = targets

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they are documented."""
        return list(self._targets)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None where there is none of that name.

        Raises click.ClickException where the command needs an extra that is not installed.
        """
        target = self._targets.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name and error.name.split(".")[0] in {"edge", "models", "cloud_sync"}:
                raise
            extra = EXTRAS.get(cmd_name, "dev")
            raise click.ClickException(
                f"`shelfgate {cmd_name}` needs the package {error.name!r}, which is not installed: "
                f"pip install 'shelfgate[{extra}]'"
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one: some need what is not installed here."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES.get(name, "")) for name in self._targets])


@click.group(
    cls=LazyGroup,
    targets=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="shelfgate")
def main() -> None:
    """A checkout-free store on ordinary cameras.

    Example: shelfgate replay clip.mp4 --json
    """
