"""Score what the pipeline made of simulated stores: as a whole, and by difficulty.

Pure: the outcomes of `tests.bench.simulated` in, figures out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.matching import Line, belong, match, same_place

CHARGED = ("accept", "refine")
NEAR_S = 8.0
"""How far in time an explanation of a miss or an extra is looked for."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An event and its truth; one of them is None for an extra or a miss.

    outcome: of the store they belong to.
    """

    event: Line | None
    fact: Line | None
    outcome: Mapping[str, Any]


def pairs_of(outcome: Mapping[str, Any], mode: str) -> list[Pair]:
    """Return the matched events of a store, then its misses, then its extras."""
    found, truth = outcome["found"][mode], outcome["truth"]
    taken = match(found, truth)
    seen = set(taken.values())
    return [
        *(Pair(found[event], truth[fact], outcome) for event, fact in taken.items()),
        *(Pair(None, fact, outcome) for n, fact in enumerate(truth) if n not in seen),
        *(Pair(event, None, outcome) for n, event in enumerate(found) if n not in taken),
    ]


def score(outcomes: Iterable[Mapping[str, Any]], mode: str) -> dict[str, Any]:
    """Return the figures of a mode over all stores."""
    pairs = [pair for outcome in outcomes for pair in pairs_of(outcome, mode)]
    return {
        **summary(pairs),
        "late_p95_s": _p95(p.event["decided_s"] - p.event["time_s"] for p in pairs if p.event),
        "rows": [
            {"difficulty": name, "value": value, **part} for name, value, part in _rows(pairs)
        ],
        "misses": [explained_miss(p, mode) for p in pairs if p.event is None],
        "extras": [explained_extra(p) for p in pairs if p.fact is None],
        "wrong_products": [_wrong(p) for p in pairs if _is_wrong(p)],
    }


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return counts and shares; a share of nothing is None.

    charged: matched events of a known product that were given one. unknown_charged: matched picks
    of a product no catalogue knows that were put on a cart; unknown_returned: the same of returns.
    """
    matched = [(p.event, p.fact) for p in pairs if p.event is not None and p.fact is not None]
    truth = sum(p.fact is not None for p in pairs)
    found = sum(p.event is not None for p in pairs)
    charged = [(e, f) for e, f in matched if e["decision"] in CHARGED and not f["unknown"]]
    unknown = [e["kind"] for e, f in matched if e["decision"] in CHARGED and f["unknown"]]
    known = sum(not f["unknown"] for _, f in matched)
    return {
        "truth": truth,
        "found": found,
        "matched": len(matched),
        "precision": _share(len(matched), found),
        "recall": _share(len(matched), truth),
        "charged": len(charged),
        "charged_share": _share(len(charged), known),
        "product_right": _share(sum(e["sku"] == f["sku"] for e, f in charged), len(charged)),
        "unknown_charged": unknown.count("pick"),
        "unknown_returned": unknown.count("return"),
    }


def _rows(pairs: Sequence[Pair]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Yield difficulty, value and the figures of the pairs that have it.

    Extras have the difficulties of their store but none of an item: no precision there.
    """
    for name in ("lighting", "occlusion", "angle", "hands"):
        for value in sorted({str(p.outcome[name]) for p in pairs}):
            yield name, value, summary([p for p in pairs if str(p.outcome[name]) == value])
    for name, value, holds in _OF_ITEMS:
        part = summary([p for p in pairs if p.fact is not None and holds(p.fact)])
        yield name, value, {**part, "precision": None}


def deep(fact: Line) -> int:
    """Return how many items stood behind one another with the item there."""
    difficulty = fact["difficulty"]
    return max(int(difficulty["depth_before"]), int(difficulty["depth_after"]))


_OF_ITEMS: tuple[tuple[str, str, Callable[[Line], bool]], ...] = (
    ("look-alike", "no", lambda fact: not fact["difficulty"]["lookalike"]),
    ("look-alike", "yes", lambda fact: bool(fact["difficulty"]["lookalike"])),
    ("depth", "one deep", lambda fact: deep(fact) < 2),
    ("depth", "two or more deep", lambda fact: deep(fact) >= 2),
    ("depth", "picks, two or more deep", lambda fact: deep(fact) >= 2 and fact["kind"] == "pick"),
    (
        "depth",
        "returns, two or more deep",
        lambda fact: deep(fact) >= 2 and fact["kind"] == "return",
    ),
    ("kind", "pick", lambda fact: fact["kind"] == "pick"),
    ("kind", "return", lambda fact: fact["kind"] == "return"),
)


def explained_miss(pair: Pair, mode: str) -> dict[str, Any]:
    """Return a miss with what was said instead: wrong kind, wrong time, elsewhere or nothing."""
    fact, found = pair.fact, pair.outcome["found"][mode]
    assert fact is not None
    difficulty = fact["difficulty"]
    return {
        **_place(pair, fact),
        "why": _instead(fact, found),
        "depth": [difficulty["depth_before"], difficulty["depth_after"]],
        "visible": difficulty["visible"],
        "lookalike": difficulty["lookalike"],
        "misplaced": fact["misplaced"],
    }


def explained_extra(pair: Pair) -> dict[str, Any]:
    """Return an extra with what happened instead, and what hands did then that is no event."""
    event = pair.event
    assert event is not None
    acts = [
        act["act"]
        for act in pair.outcome["acts"]
        if act["start_s"] - 0.5 <= event["time_s"] <= act["end_s"] + 0.5
    ]
    return {
        **_place(pair, event),
        "why": _instead(event, pair.outcome["truth"]),
        "hands": acts,
        "decided_s": event["decided_s"],
        "decision": event["decision"],
    }


def _instead(line: Line, others: Sequence[Line]) -> str:
    """Return the nearest thing on the other side that is not the same."""
    near = [other for other in others if abs(other["time_s"] - line["time_s"]) <= NEAR_S]
    if any(belong(other, line) for other in near):
        return "twice"
    here = [other for other in near if same_place(other, line)]
    for other in sorted(here, key=lambda other: abs(other["time_s"] - line["time_s"])):
        by = other["time_s"] - line["time_s"]
        same = "same kind" if other["kind"] == line["kind"] else "other kind"
        return f"{same} here {by:+.1f} s"
    if any(abs(o["time_s"] - line["time_s"]) <= 1.5 and o["kind"] == line["kind"] for o in near):
        return "same kind elsewhere"
    return "nothing near"


def _place(pair: Pair, line: Line) -> dict[str, Any]:
    return {
        "seed": pair.outcome["seed"],
        "lighting": pair.outcome["lighting"],
        "occlusion": pair.outcome["occlusion"],
        "angle": pair.outcome["angle"],
        "kind": line["kind"],
        "time_s": line["time_s"],
        "box": [round(value) for value in line["box"]],
    }


def _is_wrong(pair: Pair) -> bool:
    event, fact = pair.event, pair.fact
    return (
        event is not None
        and fact is not None
        and event["decision"] in CHARGED
        and event["sku"] != fact["sku"]
    )


def _wrong(pair: Pair) -> dict[str, Any]:
    event, fact = pair.event, pair.fact
    assert event is not None
    assert fact is not None
    truth_box = [round(value) for value in fact["box"]]
    return {**_place(pair, event), "truth_box": truth_box, "sku": event["sku"],
            "truth": fact["sku"], "distance": event["distance"],
            "decision": event["decision"]}  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _p95(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3) if ordered else None
