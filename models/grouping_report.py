"""Write a grouping as an HTML page: the tree of categories, and the groups with sample pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from models.grouping import Grouping
from models.report import page, thumbnail

_SAMPLES = 12
_ROW = 22
_WIDTH, _NAMES, _END = 900, 230, 20


def grouping_page(
    grouping: Grouping,
    pictures: Mapping[str, Sequence[Path]],
    category_of: Mapping[str, str],
    told: str,
) -> str:
    """Return the page. pictures: of products by sku, of which some are shown in each group."""
    parts = [f"<section><h2>Tree of categories</h2>{dendrogram(grouping)}</section>"]
    for group in grouping.groups:
        skus = [sku for sku in pictures if category_of.get(sku) in group.categories]
        shown = "".join(
            f"<figure>{thumbnail(pictures[sku][0])}<figcaption>{escape(sku)}</figcaption></figure>"
            for sku in skus[:: max(1, len(skus) // _SAMPLES)][:_SAMPLES]
        )
        parts.append(
            f'<section class="wide"><h2>{group.name}: {group.products} products</h2>'
            f'<p class="sub">{escape(", ".join(group.categories))}</p>'
            f'<div class="samples">{shown}</div></section>'
        )
    return page("Category groups", told, "".join(parts))


def dendrogram(grouping: Grouping) -> str:
    """Return the tree as SVG: categories down the side, merges at their distance."""
    leaves = _order(grouping)
    count = len(grouping.categories)
    top = max(grouping.heights.tolist(), default=0.0) or 1.0
    group_at = {
        category: number
        for number, group in enumerate(grouping.groups)
        for category in group.categories
    }

    def across(height: float) -> float:
        return round(_NAMES + (_WIDTH - _NAMES - _END) * height / top, 1)

    places: dict[int, tuple[float, float]] = {}
    parts = []
    for row, leaf in enumerate(leaves):
        name = grouping.categories[leaf].name
        y = 14 + row * _ROW
        places[leaf] = (across(0.0), y)
        parts.append(
            f'<text class="told" x="{_NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(name)} '
            f'<tspan class="tick">{group_at[name] + 1}</tspan></text>'
        )
    merges = zip(grouping.merges.tolist(), grouping.heights.tolist(), strict=True)
    for number, ((left, right), height) in enumerate(merges):
        (x1, y1), (x2, y2) = places[left], places[right]
        x = across(height)
        points = f"{x1},{y1} {x},{y1} {x},{y2} {x2},{y2}"
        parts.append(f'<polyline class="line" points="{points}"/>')
        places[count + number] = (x, (y1 + y2) / 2)
    size = f"0 0 {_WIDTH} {28 + count * _ROW}"
    axis = f'<text class="tick" x="{_NAMES}" y="{24 + count * _ROW}">cosine distance 0</text>'
    end = f'<text class="tick" x="{_WIDTH - _END}" y="{24 + count * _ROW}" text-anchor="end">'
    axis += f"{end}{top:.2f}</text>"
    label = 'role="img" aria-label="Tree of categories"'
    return f'<svg viewBox="{size}" {label}>{"".join(parts)}{axis}</svg>'


def _order(grouping: Grouping) -> list[int]:
    """Return the categories in an order in which no two branches cross."""
    branches: list[list[int]] = [[number] for number in range(len(grouping.categories))]
    for left, right in grouping.merges.tolist():
        branches.append(branches[left] + branches[right])
    return branches[-1]
