"""Whatever breaks on the way, the hub ends with the device's events, each once, and its carts.

SHELFGATE_FAULTS=full runs the whole size: 20,000 entries and 100 kills, and 200,000 waiting.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cloud_sync.a_database import programs
from tests.faults.storm import storm

FULL = os.environ.get("SHELFGATE_FAULTS") == "full"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed"),
]


def test_carts_survive_a_storm(tmp_path: Path) -> None:
    size = {"entries": 20_000, "kills": 100, "per_s": 150.0} if FULL else {
        "entries": 1_500, "kills": 8, "per_s": 120.0}  # fmt: skip
    outcome = storm(tmp_path, pause_s=(0.4, 1.6), **size)  # type: ignore[arg-type]
    print(outcome)
    assert outcome.healed_s < 60.0


def test_a_deep_outbox_drains_through_faults_at_flat_memory(tmp_path: Path) -> None:
    deep = 200_000 if FULL else 4_000
    outcome = storm(
        tmp_path,
        entries=deep + 1_000,
        beforehand=deep,
        kills=12 if FULL else 3,
        per_s=100.0,
        pause_s=(2.0, 6.0) if FULL else (1.0, 2.0),
        heal_s=900.0 if FULL else 60.0,
        seed=2,
    )
    print(outcome)
    assert outcome.agent_mb[1] < 1.3 * outcome.agent_mb[0] + 10
