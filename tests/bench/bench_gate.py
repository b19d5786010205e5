"""What a decision costs at 1,000, 10,000 and 100,000 products, beside faiss on the same vectors.

The gate's whole decision (search, margins, anchors, evidence) against `IndexFlatIP.search` for the
same five nearest; both on one query at a time, in turns, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.gate import NEAREST, Gate
from models.search import Search
from models.table import GroupTable, Thresholds, normalised

SIZES = (1_000, 10_000, 100_000)
DIM = 256
QUERIES = 200

_LIMITS = Thresholds(tl=0.28, th=0.5, margin=0.5, anchor_accept=0.35, anchor_margin=0.5)


def run(sizes: tuple[int, ...] = SIZES, queries: int = QUERIES) -> dict[str, Any]:
    """Measure; times are medians in milliseconds, memory is the table's arrays in MiB."""
    rows = [_measure(size, queries) for size in sizes]
    short = [
        f"gate at {row['products']} products takes {row['gate_ms']} ms, faiss {row['faiss_ms']} ms"
        for row in rows
        if row["gate_ms"] > row["faiss_ms"]
    ]
    return {"dimensions": DIM, "rows": rows, "short_of": short}


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [
        "| products | decide, ms | search only, ms | faiss IndexFlatIP, ms | same nearest | MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['products']:,} | {row['gate_ms']} | {row['search_ms']} | {row['faiss_ms']} "
        f"| {row['same_nearest']:.1%} | {row['table_mib']} |"
        for row in figures["rows"]
    ]
    return "\n".join(lines)


def _measure(products: int, queries: int) -> dict[str, Any]:
    import faiss

    random = np.random.default_rng(products)
    centroids = normalised(random.normal(size=(products, DIM)).astype(np.float32))
    table = GroupTable(
        skus=tuple(f"sku-{number}" for number in range(products)),
        centroids=centroids,
        anchors=centroids.copy(),
        offsets=np.arange(products + 1),
        thresholds=_LIMITS,
    )
    gate = Gate(table)
    index = faiss.IndexFlatIP(DIM)
    index.add(centroids)
    asked = centroids[random.integers(products, size=queries)]
    noise = random.normal(0.0, 0.03, size=asked.shape).astype(np.float32)
    asked = normalised(asked + noise)

    def by_faiss(query: NDArray[np.float32]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = index.search(query[None], NEAREST)[1][0]
        return found

    only = Search(table)

    def search(query: NDArray[np.float32]) -> list[int]:
        return only.by_centroid(query)[0]

    same = np.mean([np.array_equal(search(query), by_faiss(query)) for query in asked])
    gate_ms, search_ms, faiss_ms = _in_turns([gate.decide, search, by_faiss], asked)
    return {
        "products": products,
        "gate_ms": gate_ms,
        "search_ms": search_ms,
        "faiss_ms": faiss_ms,
        "same_nearest": float(same),
        "table_mib": round((centroids.nbytes + table.anchors.nbytes) / 2**20, 1),
    }


def _in_turns(
    functions: list[Callable[[NDArray[np.float32]], Any]], asked: NDArray[np.float32]
) -> list[float]:
    times: list[list[float]] = [[] for _ in functions]
    for block in np.array_split(asked, 10):
        for function, taken in zip(functions, times, strict=True):
            for query in block:
                started = time.perf_counter()
                function(query)
                taken.append(time.perf_counter() - started)
    return [round(1000 * float(np.median(taken)), 4) for taken in times]
