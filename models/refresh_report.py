"""Tell what a refresh did and why, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from models.refresh import Step
from models.report import page


def refresh_page(steps: Sequence[Step], title: str, told: str) -> str:
    """Return the page: a row a step, with the figures it was decided by."""
    rows = "".join(
        f"<tr><td>{escape(step.what)}</td><td>{escape(step.why)}</td>"
        f"<td>{_figures(step.figures)}</td></tr>"
        for step in steps
    )
    head = "<tr><th>what</th><th>why</th><th>figures</th></tr>"
    body = f'<section class="wide"><h2>Steps</h2><table>{head}{rows}</table></section>'
    return page(title, told, body)


def _figures(figures: Mapping[str, Any]) -> str:
    lines = []
    for name, values in figures.items():
        told = ", ".join(f"{key} {_value(value)}" for key, value in values.items())
        lines.append(f"<strong>{escape(name)}</strong> {escape(told)}")
    return "<br>".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1%}"
    return "-" if value is None else str(value)
