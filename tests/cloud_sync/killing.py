"""End a process and all it started, as a power cut would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any


def children_of(pid: int) -> list[int]:
    """Processes that any thread of a process has started; they must be on this machine's /proc."""
    listed = sorted(Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for one in listed for child in one.read_text().split()]


def kill_with_children(process: subprocess.Popen[Any]) -> None:
    """SIGKILL for the process and its children."""
    children = children_of(process.pid)
    process.kill()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    process.wait()
