"""Keep docs/results.md: a section a benchmark, between markers, with the machine it ran on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any


class ResultsError(Exception):
    """The results cannot be written; the message says which file and why."""


def put_section(path: Path, name: str, markdown: str, machine: str | None = None) -> None:
    """Replace what stands between a benchmark's markers.

    machine: what it ran on; this machine where not given.
    Raises ResultsError where the file or its markers are missing.
    """
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ResultsError(f"{path}: no section between {begin} and {end}")
    note = machine if machine is not None else this_machine()
    body = f"{begin}\n\n{markdown.strip()}\n\nMeasured on {note}.\n\n{end}"
    path.write_text(head + body + tail, encoding="utf-8")


def as_table(figures: Mapping[str, Any]) -> str:
    """Return figures as a table of two columns; lists and what is nested are left out."""
    plain = [(k.replace("_", " "), v) for k, v in figures.items() if not _is_nested(v)]
    return table(("figure", "value"), plain)


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, Sequence) and not isinstance(value, str)
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a markdown table."""
    lines = [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def this_machine() -> str:
    """Return the date and what this machine is, in one line."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("openvino", "numpy"))
    day = datetime.now(UTC).date().isoformat()
    return (
        f"{day}: {_processor()}, {_cores()} cores, {_memory_gb():.0f} GB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {packages}"
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    named = re.search(r"model name\s*:\s*(.+)", text)
    return named.group(1).strip() if named else platform.processor() or "unknown processor"
