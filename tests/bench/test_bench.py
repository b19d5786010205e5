"""The benchmarks themselves: what is matched with what, what is listed, where figures go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edge.cli import main
from edge.commands.bench import benchmark_names, checkout
from tests.bench.bench_store import TARGETS, markdown, short_of
from tests.bench.matching import belong, match
from tests.bench.results import ResultsError, put_section
from tests.bench.scoring import score
from tests.bench.simulated import run_seed

ROOT = Path(__file__).parents[2]


def an_event(
    kind: str = "pick", time_s: float = 5.0, x: float = 100.0, **more: Any
) -> dict[str, Any]:
    box = [x, 50.0, x + 40.0, 150.0]
    return {"kind": kind, "time_s": time_s, "camera": "cam-1", "box": box, **more}


def a_truth(sku: str | None = "tea", depth: int = 1, **more: Any) -> dict[str, Any]:
    difficulty = {
        "lookalike": False,
        "depth_before": depth,
        "depth_after": depth - 1,
        "visible": 1.0,
    }
    unknown = {"sku": sku, "unknown": sku is None, "misplaced": False}
    return an_event(**more) | unknown | {"difficulty": difficulty}


def a_found(sku: str | None = "tea", decision: str = "accept", **more: Any) -> dict[str, Any]:
    event = an_event(**more)
    decided = {
        "sku": sku,
        "decision": decision,
        "distance": 0.1,
        "decided_s": event["time_s"] + 1.0,
    }
    return event | decided


def an_outcome(found: list[dict[str, Any]], truth: list[dict[str, Any]]) -> dict[str, Any]:
    about = {"seed": 1, "lighting": "steady", "occlusion": "none", "angle": "front", "hands": 1}
    acts = [{"act": "lift", "start_s": 29.0, "end_s": 31.0}]
    return about | {"acts": acts, "truth": truth, "found": {"with_detector": found}}


events = st.lists(
    st.builds(
        an_event,
        kind=st.sampled_from(("pick", "return")),
        time_s=st.floats(0, 8),
        x=st.floats(0, 200),
    ),
    max_size=8,
)


@given(found=events, truth=events)
def test_every_event_belongs_to_one_truth_at_most_and_none_is_left_out(
    found: list[dict[str, Any]], truth: list[dict[str, Any]]
) -> None:
    pairs = match(found, truth)
    assert len(set(pairs.values())) == len(pairs)
    assert all(belong(found[event], truth[fact]) for event, fact in pairs.items())
    left_events = [e for n, e in enumerate(found) if n not in pairs]
    left_truths = [t for n, t in enumerate(truth) if n not in pairs.values()]
    assert not any(belong(event, fact) for event in left_events for fact in left_truths)


@given(truth=events)
def test_the_truth_matches_itself_whole(truth: list[dict[str, Any]]) -> None:
    assert len(match(truth, truth)) == len(truth)


def test_an_event_that_could_be_either_leaves_the_other_its_own() -> None:
    truth = [an_event(time_s=5.0), an_event(time_s=6.4)]
    assert match([an_event(time_s=5.2), an_event(time_s=3.9)], truth) == {1: 0, 0: 1}


@pytest.mark.parametrize(
    "other",
    [
        an_event(kind="return"),
        an_event(time_s=6.6),
        an_event(x=180.0),
        an_event() | {"camera": "b"},
    ],
    ids=["another kind", "too late", "elsewhere", "another camera"],
)
def test_what_differs_does_not_match(other: dict[str, Any]) -> None:
    assert match([other], [an_event()]) == {}


def test_products_are_judged_on_what_was_charged_alone() -> None:
    truth = [a_truth(x=0.0), a_truth(x=100.0), a_truth(x=200.0), a_truth(None, x=300.0)]
    found = [
        a_found(x=0.0),
        a_found("milk", "refine", x=100.0),
        a_found(None, "review", x=200.0),
        a_found("milk", x=300.0),
        a_found(x=600.0, time_s=30.0),
    ]
    figures = score([an_outcome(found, truth)], "with_detector")
    assert (figures["recall"], figures["precision"]) == (1.0, 0.8)
    assert (figures["charged"], figures["product_right"]) == (2, 0.5)
    assert figures["unknown_charged"] == 1
    assert figures["late_p95_s"] == 1.0
    assert [extra["hands"] for extra in figures["extras"]] == [["lift"]]
    assert len(figures["wrong_products"]) == 2


def test_items_several_deep_have_a_row_of_their_own() -> None:
    truth = [a_truth(depth=4), a_truth(depth=1, x=300.0)]
    figures = score([an_outcome([a_found(x=300.0)], truth)], "with_detector")
    rows = {row["value"]: row["recall"] for row in figures["rows"]}
    assert (rows["two or more deep"], rows["one deep"]) == (0.0, 1.0)
    assert figures["misses"][0]["depth"] == [4, 3]
    assert figures["misses"][0]["why"] == "same kind elsewhere"


def test_list_names_every_benchmark() -> None:
    result = CliRunner().invoke(main, ["bench", "--list", "--json"])
    assert result.exit_code == 0, result.output
    listed = json.loads(result.stdout)
    assert {"pipeline", "store", "ingest"} <= set(listed)
    assert set(listed) == set(benchmark_names(ROOT))


def test_an_unknown_benchmark_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(main, ["bench", "speed"])
    assert result.exit_code == 2
    assert "no benchmark 'speed'" in result.stderr
    assert "pipeline" in result.stderr


def test_a_missing_clip_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "pipeline", "--clip", str(tmp_path / "no.mp4")])
    assert result.exit_code == 2
    assert "no.mp4" in result.stderr.splitlines()[-1]


def test_outside_a_checkout_the_command_says_so(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="from a checkout") as refused:
        checkout(tmp_path)
    assert refused.value.exit_code == 2


def test_writing_a_section_leaves_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    path.write_text("a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n")
    put_section(path, "x", "new", machine="a box")
    put_section(path, "x", "newer", machine="a box")
    text = path.read_text()
    assert text.startswith("a\n")
    assert text.endswith("\nb\n")
    assert "newer" in text
    assert "old" not in text
    assert "Measured on a box." in text
    with pytest.raises(ResultsError, match="no section"):
        put_section(path, "y", "new")


@pytest.mark.parametrize("name", benchmark_names(ROOT))
def test_the_results_have_a_section_for_every_benchmark(name: str) -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    assert f"<!-- bench:{name} -->" in text
    assert f"<!-- /bench:{name} -->" in text


@pytest.mark.slow
def test_a_store_of_some_seconds_goes_through_both_modes() -> None:
    outcome = run_seed(3, 0.1)
    assert set(outcome["found"]) == {"with_detector", "without_detector"}
    json.dumps(outcome)
    figures = {mode: score([outcome], mode) for mode in outcome["found"]}
    assert "two or more deep" in markdown({"first": 3, "seeds": 1, "minutes": 0.1, **figures})
    for mode, name, target in TARGETS:
        said = f"{name} {mode.replace('_', ' ')}"
        missed = {**figures, mode: {**figures[mode], name: 0.0}}
        assert f"{said} 0.0, wanted {target}" in short_of(missed)
        met = {**figures, mode: {**figures[mode], name: target}}
        assert not [line for line in short_of(met) if line.startswith(said)]
