"""What is left after a storm: a device's events at the hub while everything on the way is killed.

20,000 entries booked through 100 kills (device, broker, hub with its workers, PostgreSQL) on a line
that is cut, delayed by 500 ms, throttled, and holds pieces back as lost packets do; and an outbox
200,000 entries deep. Fails where an event is missing, twice or another, or a cart differs. After
that every attack and fault that has a test of its own, at full size. Called by `shelfgate bench
faults`; says on standard error what each storm left as soon as it is over, for all of it takes half
an hour.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.bench.attacks import Attack, attacks
from tests.bench.results import as_table, table
from tests.faults.storm import Outcome, storm

HEALED_S = 60.0
FLAT = 1.25
"""How much more memory the agent may need for the deep outbox than for the other."""
MANY = 30


def run(entries: int = 20_000, kills: int = 100, deep: int = 200_000) -> dict[str, Any]:
    """Run both storms; entries, kills: of the first. deep: entries that wait in the second."""
    with tempfile.TemporaryDirectory(prefix="shelfgate-storm-") as folder:
        first = storm(Path(folder), entries=entries, kills=kills, per_s=150.0, pause_s=(0.4, 1.6))
    print(first, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="shelfgate-storm-") as folder:
        second = storm(
            Path(folder),
            entries=deep + 1_000,
            beforehand=deep,
            kills=12,
            per_s=100.0,
            pause_s=(2.0, 6.0),
            heal_s=900.0,
            seed=2,
        )
    print(second, file=sys.stderr, flush=True)
    tried = attacks()
    figures = {**_of(first, ""), **_of(second, "deep_")}
    missed = []
    if first.healed_s >= HEALED_S:
        missed.append(f"healed after {first.healed_s} s, wanted {HEALED_S}")
    if second.agent_mb[1] > FLAT * first.agent_mb[1]:
        most = f"{second.agent_mb[1]} MB of memory with {deep:,} waiting"
        missed.append(f"the agent took {most}, {first.agent_mb[1]} MB without, wanted {FLAT}x")
    missed += [f"{one.what}: {one.outcome}" for one in tried if one.outcome != "holds"]
    return {**figures, "attacks": [_row(one) for one in tried], "short_of": missed}


def _row(one: Attack) -> dict[str, Any]:
    return {"where": one.where, "what": one.what, "outcome": one.outcome, "s": one.seconds}


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the section of docs/results.md: the storms, then every attack by its file."""
    blocks = [as_table(figures)]
    for where, rows in groupby(figures["attacks"], lambda row: row["where"]):
        found = list(rows)
        if len(found) > MANY:
            # A check of every route or message: one row for all that ended alike.
            ended = Counter((row["what"].partition(":")[0], row["outcome"]) for row in found)
            lines = [(what, f"{outcome} ({n})", "") for (what, outcome), n in ended.items()]
        else:
            lines = [(row["what"], row["outcome"], row["s"]) for row in found]
        blocks.append(f"**{where}.**\n\n{table(('tried', 'came of it', 's'), lines)}")
    return "\n\n".join(blocks)


def _of(outcome: Outcome, prefix: str) -> dict[str, Any]:
    low, high = outcome.agent_mb
    return {
        f"{prefix}events": outcome.events,
        f"{prefix}kills": outcome.kills,
        f"{prefix}bad_weathers": outcome.weathers,
        f"{prefix}healed_s": outcome.healed_s,
        f"{prefix}total_s": outcome.total_s,
        f"{prefix}agent_rss_mb_least": low,
        f"{prefix}agent_rss_mb_most": high,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
