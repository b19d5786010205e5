"""Draw the charts of a report as SVG text, in colours the page's style sheet names.

Every chart scales to the width it is given and carries its own labels. Used by the evaluation's
report and the grouping's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 14, 42

Points = Sequence[tuple[float, float]]


class Axes:
    """The frame of a chart: maps values to its pixels and draws ticks and labels."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Take the least and greatest value of either axis."""
        self._x, self._y = x, y

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies, in pixels; what is beyond the axes lies on their edge."""
        left, right = self._x
        low, high = self._y
        along = min(max((x - left) / (right - left), 0.0), 1.0)
        up = min(max((y - low) / (high - low), 0.0), 1.0)
        return (
            round(_LEFT + along * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
        )

    def frame(self, x_label: str, y_label: str, *, percent: bool) -> str:
        """Return ticks, grid and labels."""
        parts = []
        for value in np.linspace(*self._x, 6).tolist():
            px, py = self.at(value, self._y[0])
            parts.append(f'<text class="tick" x="{px}" y="{py + 16}" text-anchor="middle">')
            parts.append(f"{_number(value)}</text>")
        for value in np.linspace(*self._y, 5).tolist():
            px, py = self.at(self._x[0], value)
            end = _WIDTH - _RIGHT
            parts.append(f'<line class="grid" x1="{px}" y1="{py}" x2="{end}" y2="{py}"/>')
            told = f"{value:.1%}" if percent else _number(value)
            parts.append(f'<text class="tick" x="{px - 6}" y="{py + 4}" text-anchor="end">')
            parts.append(f"{told}</text>")
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text class="label" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">')
        parts.append(f"{escape(x_label)}</text>")
        centre = (_TOP + _HEIGHT - _BOTTOM) / 2
        turned = f'transform="rotate(-90 12 {centre})"'
        parts.append(f'<text class="label" x="12" y="{centre}" text-anchor="middle" {turned}>')
        parts.append(f"{escape(y_label)}</text>")
        return "".join(parts)


def curve(
    points: Points,
    labels: tuple[str, str],
    *,
    y: tuple[float, float],
    mark: tuple[float, float, str] | None = None,
    rising: bool = False,
) -> str:
    """Return a curve over x in [0, 1].

    mark: a point to be pointed out, with what to call it. rising: draw the diagonal too.
    """
    axes = Axes((0.0, 1.0), y)
    line = " ".join(f"{px},{py}" for px, py in (axes.at(*point) for point in points))
    inside = [axes.frame(*labels, percent=True)]
    if rising:
        (x1, y1), (x2, y2) = axes.at(0, 0), axes.at(1, 1)
        inside.append(f'<line class="chance" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    inside.append(f'<polyline class="line" points="{line}"/>')
    if mark is not None:
        px, py = axes.at(mark[0], mark[1])
        inside.append(f'<circle class="mark" cx="{px}" cy="{py}" r="5"/>')
        anchor = "end" if px > _WIDTH / 2 else "start"
        beside = px - 9 if anchor == "end" else px + 9
        above = max(py - 9, _TOP + 12)
        inside.append(f'<text class="told" x="{beside}" y="{above}" text-anchor="{anchor}">')
        inside.append(f"{escape(mark[2])}</text>")
    return _svg(labels[1], inside)


def histogram(
    values: Mapping[str, Sequence[float]],
    lines: Mapping[str, float],
    x_label: str,
    bins: int = 40,
) -> str:
    """Return one outline a kind of values, each as shares of its kind, with named lines across."""
    everything = [value for kind in values.values() for value in kind] + list(lines.values())
    high = max(float(np.quantile(everything, 0.995)) if everything else 1.0, *lines.values(), 0.1)
    edges = np.linspace(0.0, high * 1.05, bins + 1)
    shares = {
        kind: np.histogram(np.clip(found, 0, edges[-1]), edges)[0] / len(found)
        for kind, found in values.items()
        if len(found)
    }
    top = max([float(share.max()) for share in shares.values()], default=1.0)
    axes = Axes((0.0, float(edges[-1])), (0.0, top * 1.08))
    inside = [axes.frame(x_label, "share of the kind", percent=True)]
    for number, share in enumerate(shares.values()):
        steps = [(float(edges[0]), 0.0)]
        for left, right, height in zip(edges[:-1], edges[1:], share, strict=True):
            steps += [(float(left), float(height)), (float(right), float(height))]
        steps.append((float(edges[-1]), 0.0))
        line = " ".join(f"{px},{py}" for px, py in (axes.at(*step) for step in steps))
        inside.append(f'<polygon class="kind kind-{number}" points="{line}"/>')
    for number, (name, value) in enumerate(lines.items()):
        (px, py), (_, end) = axes.at(value, 0.0), axes.at(value, top * 1.08)
        inside.append(f'<line class="limit" x1="{px}" y1="{py}" x2="{px}" y2="{end}"/>')
        anchor = "end" if px > _WIDTH * 0.8 else "start"
        beside = px - 5 if anchor == "end" else px + 5
        place = f'x="{beside}" y="{end + 12 + 15 * number}" text-anchor="{anchor}"'
        inside.append(f'<text class="told" {place}>')
        inside.append(f"{escape(name)} {value:.3f}</text>")
    legend = "".join(
        f'<span><i class="kind-{number}"></i>{escape(kind)} ({len(values[kind])})</span>'
        for number, kind in enumerate(shares)
    )
    return f'{_svg(x_label, inside)}<p class="legend">{legend}</p>'


def bar(share: float | None) -> str:
    """Return a bar as long as a share, with the share beside it; a dash where there is none."""
    if share is None:
        return '<span class="none">-</span>'
    kind = "good" if share >= 0.95 else "fair" if share >= 0.8 else "poor"
    return f'<span class="bar {kind}" style="--share:{share:.3f}"></span> {share:.1%}'


def _svg(title: str, inside: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f"<svg {size}>{''.join(inside)}</svg>"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
