"""How a command says that what it was given cannot be used.

Ground floor, so that every command of ours can: the device's, the hub's and the training's.
"""

from __future__ import annotations

import click


class BadInput(click.ClickException):
    """What was handed to a command cannot be used: one clear line, and exit code 2."""

    exit_code = 2
