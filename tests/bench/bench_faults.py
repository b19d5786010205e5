"""What is left after a storm: a device's events at the hub while everything on the way is killed.

20,000 entries booked through 100 kills (device, broker, hub with its workers, PostgreSQL) on a line
that is cut, delayed by 500 ms, throttled, and holds pieces back as lost packets do; and an outbox
200,000 entries deep. Fails where an event is missing, twice or another, or a cart differs. Called
by `shelfgate bench faults`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.faults.storm import Outcome, storm

HEALED_S = 60.0


def run(entries: int = 20_000, kills: int = 100, deep: int = 200_000) -> dict[str, Any]:
    """Run both storms; entries, kills: of the first. deep: entries that wait in the second."""
    with tempfile.TemporaryDirectory(prefix="shelfgate-storm-") as folder:
        first = storm(Path(folder), entries=entries, kills=kills, per_s=150.0, pause_s=(0.4, 1.6))
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
    figures = {**_of(first, ""), **_of(second, "deep_")}
    missed = []
    if first.healed_s >= HEALED_S:
        missed.append(f"healed after {first.healed_s} s, wanted {HEALED_S}")
    return {**figures, "short_of": missed}


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
