"""The progress bar of commands whose work takes a while."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, ProgressColumn


def bar(*columns: ProgressColumn) -> Progress:
    """Return a bar on stderr that is gone at the end.

    Where nobody sees it there is none: it would leave an empty line before what is wrong.
    """
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
