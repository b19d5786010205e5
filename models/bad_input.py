"""How a command says that what it was given cannot be used.

Ground floor, so that every command of ours can: the device's, the hub's and the training's.
"""

from __future__ import annotations

import math
from typing import Any

import click


class BadInput(click.ClickException):
    """What was handed to a command cannot be used: one clear line, and exit code 2."""

    exit_code = 2


def a_number(_: click.Context, __: Any, value: float | None) -> float | None:
    """Refuse nan, which lies in every range that click knows; a callback for an option."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("a number is expected, not nan")
    return value
