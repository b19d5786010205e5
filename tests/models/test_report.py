"""The evaluation's page: every chart and table shows what was measured, and stands alone."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from edge.panel import panel_of
from models.evaluate import Evaluation, evaluated, risk_coverage
from models.groups import Groups
from models.report import evaluation_page
from tests.models.test_groups import COLOURS, groups_of, questions, table_of

Node = ElementTree.Element


class _Tree(HTMLParser):
    """Builds a tree of a page; complains about what is not closed in order."""

    _VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.builder = ElementTree.TreeBuilder()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        self.open.append(tag)
        if tag in self._VOID:
            self.handle_endtag(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.builder.end(tag)

    def handle_data(self, data: str) -> None:
        if self.open:
            self.builder.data(data)


def parsed(page: str) -> Node:
    tree = _Tree()
    tree.feed(page)
    assert not tree.open
    return tree.builder.close()


def text(node: Node) -> str:
    return " ".join(" ".join(node.itertext()).split())


def section(root: Node, title: str) -> Node:
    (found,) = [node for node in root.iter("section") if text(node.find("h2")) == title]  # type: ignore[arg-type]
    return found


def of_class(node: Node, name: str) -> list[Node]:
    return [child for child in node.iter() if name in child.get("class", "").split()]


def points(node: Node) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in node.get("points", "").split())
    return [(float(x), float(y)) for x, y in pairs]


def table(node: Node) -> dict[str, list[str]]:
    """Return the cells of a section's table by the first of each row."""
    (found,) = node.iter("table")
    rows = [[text(cell) for cell in row] for row in found.iter("tr")]
    return {name: cells for name, *cells in rows}


APART = {"warm": ("red", "rose"), "cold": ("blue", "sky")}


def asked(folder: Path, *, confused: bool = True) -> tuple[Evaluation, str, Groups]:
    """Evaluate two groups, of which one takes rose for red if it is confused; return the page."""
    tables = {name: table_of(*skus) for name, skus in APART.items()}
    if confused:
        warm = tables["warm"]
        red, rose = warm.looks_of(0), warm.looks_of(1)
        tables["warm"] = warm.with_products({"red": rose, "rose": red})
    limits = replace(tables["cold"].thresholds, tl=0.2, th=0.55)
    tables["cold"] = tables["cold"].with_thresholds(limits)
    groups, task = groups_of(tables), questions(folder)
    outcome = evaluated(groups, task, panel_of)
    return outcome, evaluation_page(outcome, task.catalogue, task.query, "shop <1>"), groups


@pytest.fixture(scope="module")
def confused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Node, Groups]:
    outcome, page, groups = asked(tmp_path_factory.mktemp("confused"))
    return outcome, parsed(page), groups


def test_accuracy_is_told_by_group_category_and_product(
    confused: tuple[Evaluation, Node, Groups],
) -> None:
    outcome, root, _ = confused
    by_group = table(section(root, "By group"))
    assert by_group["name"] == ["pictures", "top-1", "decided", "wrong"]
    assert by_group["warm"][:2] == ["12", "0.0%"]
    assert by_group["cold"][:2] == ["12", "100.0%"]
    assert outcome.figures["by_group"]["warm"]["accuracy"] == 0.0
    by_category = table(section(root, "By category"))
    assert {name: cells[1] for name, cells in by_category.items()} == {
        "name": "top-1", "warm": "0.0%", "cold": "100.0%"
    }  # fmt: skip
    by_product = table(section(root, "By product"))
    assert {name: cells[0] for name, cells in by_product.items() if name in COLOURS} == (
        dict.fromkeys(COLOURS, "6")
    )
    assert by_product["sky"][1] == "100.0%"
    assert "names the right group for 100.0%" in text(section(root, "By group"))


def test_each_group_has_a_histogram_with_its_thresholds_drawn_where_they_are(
    confused: tuple[Evaluation, Node, Groups],
) -> None:
    _, root, groups = confused
    for name in APART:
        limits = groups.tables[name].thresholds
        shown = section(root, f"Distances, as the gate tells them: {name}")
        lines, told = of_class(shown, "limit"), [text(node) for node in of_class(shown, "told")]
        assert told == [f"TL {limits.tl:.3f}", f"TH {limits.th:.3f}"]
        # Ticks say where values lie along the axis; the lines must lie at TL and TH.
        ticks = [n for n in of_class(shown, "tick") if n.get("text-anchor") == "middle"]
        along = [(float(n.get("x", "")), float(text(n))) for n in ticks]
        (first, _), (end, high) = along[0], along[-1]
        places = [(float(n.get("x1", "")) - first) / (end - first) * high for n in lines]
        assert places == pytest.approx([limits.tl, limits.th], abs=0.02)
        assert all(n.get("x1") == n.get("x2") and n.get("y1") != n.get("y2") for n in lines)
        assert of_class(shown, "kind")
        assert all(len(points(kind)) > 40 for kind in shown.iter("polygon"))


def test_the_histogram_counts_what_a_group_answered(
    confused: tuple[Evaluation, Node, Groups],
) -> None:
    outcome, root, _ = confused
    answered = [a for a in outcome.answers if a.ruling.group == "cold" and a.first_right]
    told = text(section(root, "Distances, as the gate tells them: cold"))
    assert f"nearest is the product ({len(answered)})" in told


def test_risk_is_drawn_over_coverage(confused: tuple[Evaluation, Node, Groups]) -> None:
    outcome, root, _ = confused
    shown = section(root, "What coverage costs in risk")
    (line,) = of_class(shown, "line")
    found = points(line)
    assert len(found) == len(risk_coverage(outcome.answers)) == 24
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    # At full coverage half the answers are wrong, at the start none: up is a smaller y.
    assert outcome.figures["risk_coverage"][-1] == {"coverage": 1.0, "risk": 0.5}
    assert {text(node) for node in of_class(shown, "label")} == {"coverage", "wrong of those"}
    (mark,) = of_class(shown, "mark")
    decided = outcome.figures["selective"]["coverage"]
    left, right = found[0][0], found[-1][0]
    start = left - (right - left) / 23
    assert (float(mark.get("cx", "")) - start) / (right - start) == pytest.approx(decided, abs=0.01)


def test_the_unknown_are_told_by_a_rising_curve(
    confused: tuple[Evaluation, Node, Groups],
) -> None:
    outcome, root, _ = confused
    shown = section(root, "Telling the unknown")
    (line,) = of_class(shown, "line")
    found = points(line)
    assert found == sorted(found, key=lambda point: (point[0], -point[1]))
    assert len(of_class(shown, "chance")) == len(of_class(shown, "mark")) == 1
    assert f"AUROC {outcome.figures['left_out']['auroc']:.3f}" in text(shown)
    # The area under what is drawn is the figure that is told.
    (chance,) = of_class(shown, "chance")
    x1, y1, x2, y2 = (float(chance.get(name, "")) for name in ("x1", "y1", "x2", "y2"))
    along = [(x - x1) / (x2 - x1) for x, _ in found]
    up = [(y - y1) / (y2 - y1) for _, y in found]
    area = float(np.trapezoid(up, along))
    assert area == pytest.approx(outcome.figures["left_out"]["auroc"], abs=0.02)


def test_the_worst_confusions_are_shown_with_pictures_of_both(
    confused: tuple[Evaluation, Node, Groups],
) -> None:
    _, root, _ = confused
    pairs = of_class(section(root, "Worst confusions"), "pair")
    assert {text(pair.find("div")).split(" 6 of 6")[0] for pair in pairs} == {  # type: ignore[arg-type]
        "red taken for rose", "rose taken for red"
    }  # fmt: skip
    for pair in pairs:
        seen = []
        for image in pair.iter("img"):
            kind, data = image.get("src", "").split(",", 1)
            assert kind == "data:image/jpeg;base64"
            raw = np.frombuffer(base64.b64decode(data), np.uint8)
            picture = cv2.imdecode(raw, cv2.IMREAD_COLOR)
            assert picture is not None
            seen.append(picture.mean(axis=(0, 1)))
        names = re.findall(r"red|rose", text(pair))[:2]
        assert len(seen) == 2
        for colour, name in zip(seen, names, strict=True):
            assert np.abs(colour - COLOURS[name]).max() < 12


def test_where_nothing_is_confused_none_is_shown_and_one_group_is_not_split(tmp_path: Path) -> None:
    outcome, page, _ = asked(tmp_path, confused=False)
    assert text(section(parsed(page), "Worst confusions")) == "Worst confusions None."
    alone = groups_of({"all": table_of(*COLOURS)}, None)
    task = questions(tmp_path / "again")
    whole = parsed(
        evaluation_page(evaluated(alone, task, panel_of), task.catalogue, task.enrol, "one")
    )
    titles = [text(node) for node in whole.iter("h2")]
    assert "Distances, as the gate tells them" in titles
    assert "By group" not in titles
    assert outcome.figures["accuracy"]["all"] == 1.0


def test_the_page_stands_alone_and_names_are_escaped(tmp_path: Path) -> None:
    _, page, _ = asked(tmp_path)
    root = parsed(page)
    assert text(next(root.iter("title"))) == "shop <1>"
    assert not list(root.iter("script")) + list(root.iter("link"))
    assert all(n.get("src", "data:").startswith("data:") for n in root.iter())
    assert "url(" not in page
    assert "http" not in page
