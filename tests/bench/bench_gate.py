"""What a decision costs at 1,000, 10,000 and 100,000 products, beside faiss and all anchors.

The gate's whole decision (search, margins, anchors, evidence) against `IndexFlatIP.search` over the
centroids for the same five nearest, and against comparing with every anchor of every product. One
query at a time, in turns, so that a busy machine slows all. Tables are mapped from the disk, with
the anchors that enrolment keeps, as a device has them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.gate import NEAREST, Decision, Gate
from models.enrol import ANCHORS
from models.search import Search
from models.search_cost import FullSearch
from models.table import GroupTable, Thresholds, load_table, normalised

SIZES = (1_000, 10_000, 100_000)
DIM = 256
QUERIES = 200

_LIMITS = Thresholds(tl=0.28, th=0.9, margin=0.5, anchor_accept=0.6, anchor_margin=0.5)
_CLEAR, _UNCLEAR = 0.03, 0.07
"""Noise of queries that are decided at the centroids, and of those that go on to the anchors."""

_LOOKS = 0.04
"""And of a product's anchors around its centroid."""

_EVERY = 40
"""Of so many queries one is compared with all anchors, which takes long."""

_BLOCK = 256
"""Products whose anchors are drawn at once."""

Query = NDArray[np.float32]


def run(sizes: tuple[int, ...] = SIZES, queries: int = QUERIES) -> dict[str, Any]:
    """Measure; times are medians in milliseconds, memory is all of the table's arrays in MiB."""
    rows = [_measure(size, queries) for size in sizes]
    short = [
        f"gate at {row['products']} products takes {row['gate_ms']} ms, faiss {row['faiss_ms']} ms"
        for row in rows
        if row["gate_ms"] > row["faiss_ms"]
    ]
    return {"dimensions": DIM, "anchors": ANCHORS, "rows": rows, "short_of": short}


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [
        f"{figures['dimensions']} dimensions, {figures['anchors']} anchors a product in half "
        "precision; milliseconds a query.",
        "",
        "| products | decide at the centroids | decide with anchors | search only "
        "| faiss IndexFlatIP | same nearest | all anchors | same product | MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['products']:,} | {row['gate_ms']} | {row['refined_ms']} | {row['search_ms']} "
        f"| {row['faiss_ms']} | {row['same_nearest']:.1%} | {row['all_anchors_ms']} "
        f"| {row['same_product']:.1%} | {row['table_mib']} |"
        for row in figures["rows"]
    ]
    return "\n".join(lines)


def _measure(products: int, queries: int) -> dict[str, Any]:
    import faiss

    with tempfile.TemporaryDirectory(prefix="shelfgate-gate-") as folder:
        _a_table(products).save(Path(folder))
        table = load_table(Path(folder))
        gate, only, whole = Gate(table), Search(table), FullSearch(table)
        index = faiss.IndexFlatIP(DIM)
        index.add(np.asarray(table.centroids))
        clear, unclear = (_queries(table, queries, noise) for noise in (_CLEAR, _UNCLEAR))

        def by_faiss(query: Query) -> list[int]:
            return [int(row) for row in index.search(query[None], NEAREST)[1][0]]

        def search(query: Query) -> list[int]:
            return only.by_centroid(query)[0]

        few = np.concatenate([clear[::_EVERY], unclear[::_EVERY]])
        (all_ms,) = _in_turns([whole.nearest], few)
        gate_ms, search_ms, faiss_ms = _in_turns([gate.decide, search, by_faiss], clear)
        (refined_ms,) = _in_turns([gate.decide], unclear)
        return {
            "products": products,
            "gate_ms": gate_ms,
            "refined_ms": refined_ms,
            "search_ms": search_ms,
            "faiss_ms": faiss_ms,
            "all_anchors_ms": all_ms,
            "immediate": _share(gate.decide(query).immediate for query in (*clear, *unclear)),
            "same_nearest": _share(search(query) == by_faiss(query) for query in clear),
            "same_product": _share(
                _first(gate.decide(query)) == whole.nearest(query)[1] for query in few
            ),
            "table_mib": round(_size(table) / 2**20, 1),
        }


def _a_table(products: int) -> GroupTable:
    """Return a table whose products' anchors lie around their centroids."""
    random = np.random.default_rng(products)
    centroids = normalised(random.normal(size=(products, DIM)).astype(np.float32))
    anchors = np.empty((products, ANCHORS, DIM), np.float16)
    spread = random.normal(0.0, _LOOKS, (_BLOCK, ANCHORS, DIM)).astype(np.float32)
    for start in range(0, products, _BLOCK):
        block = centroids[start : start + _BLOCK, None]
        drawn = (block + spread[: len(block)]).reshape(-1, DIM)
        anchors[start : start + _BLOCK] = normalised(drawn).reshape(-1, ANCHORS, DIM)
    return GroupTable(
        skus=tuple(f"sku-{number}" for number in range(products)),
        centroids=centroids,
        anchors=anchors.reshape(-1, DIM),
        offsets=np.arange(products + 1) * ANCHORS,
        thresholds=_LIMITS,
    )


def _queries(table: GroupTable, count: int, noise: float) -> Query:
    random = np.random.default_rng(count)
    asked = table.centroids[random.integers(len(table), size=count)]
    return normalised(asked + random.normal(0.0, noise, asked.shape).astype(np.float32))


def _first(decision: Decision) -> str:
    return decision.nearest[0].sku


def _size(table: GroupTable) -> int:
    return sum(a.nbytes for a in (table.centroids, table.anchors, table.offsets, table.products))


def _share(found: Any) -> float:
    return float(np.mean(list(found)))


def _in_turns(functions: list[Callable[[Query], Any]], asked: Query) -> list[float]:
    times: list[list[float]] = [[] for _ in functions]
    for block in np.array_split(asked, min(10, len(asked))):
        for function, taken in zip(functions, times, strict=True):
            for query in block:
                started = time.perf_counter()
                function(query)
                taken.append(time.perf_counter() - started)
    return [round(1000 * float(np.median(taken)), 4) for taken in times]
