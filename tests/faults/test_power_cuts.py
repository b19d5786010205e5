"""The power goes at any moment, in the middle of any write: nothing acknowledged is lost.

A box books events and installs bundles while strace notes every write; the disk that a cut at a
random moment leaves is put together from them, its last write torn, and a box comes up on it.
SHELFGATE_FAULTS=full tries 200 moments.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.slots import Slots, begin
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.topics import Address
from edge.embed import Recogniser
from edge.ledger import Ledger
from models.bundle import load_bundle
from models.selftest import CROPS, drawn
from tests.cloud_sync.a_box import SITE, want
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import ROOT
from tests.cloud_sync.killing import kill_with_children
from tests.faults.disk_log import Call, Disk, calls, can_trace, strace

MOMENTS = 200 if os.environ.get("SHELFGATE_FAULTS") == "full" else 40
VERSIONS = (1, 2, 3)


@dataclass(frozen=True)
class Life:
    """What a box did: every call that changed its disk, and the bundle it was delivered with."""

    folder: Path
    calls: list[Call]
    packaged: Path


def recorded(tmp_path: Path, command: list[str], port: int) -> list[str]:
    """Let a box run through all versions; return what it said."""
    process = subprocess.Popen(
        [*strace(tmp_path / "calls"), *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    patience = threading.Timer(240.0, process.kill)
    patience.start()
    said = []
    versions = iter(VERSIONS)
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.strip())
        if line.startswith("runs"):
            version = next(versions, None)
            if version is None:
                break
            want(port, Address(SITE, "box-1"), version)
    patience.cancel()
    kill_with_children(process)
    return said


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    tmp_path = tmp_path_factory.mktemp("life")
    keys = Keys(tmp_path / "keys")
    repository = a_repository(tmp_path / "repository", keys)
    for version in VERSIONS:
        repository.push(a_bundle(tmp_path, version, weights=96_000 + 960 * version), keys.two)
    packaged = a_bundle(tmp_path, 0).path
    folder = tmp_path / "box"
    with Broker() as broker:
        server = BlockServer(repository, broker.host, broker.port)
        server.start()
        program = [sys.executable, "-m", "tests.faults.a_recorded_box"]
        root = str(repository.folder / "root.json")
        said = recorded(
            tmp_path, [*program, str(folder), str(broker.port), root, str(packaged)], broker.port
        )
        server.stop()
    assert said[-1] == f"runs {VERSIONS[-1]}", [w for w in said if "runs" in w]
    return Life(folder, list(calls(tmp_path / "calls", folder)), packaged)


@pytest.mark.slow
@pytest.mark.skipif(not can_trace(), reason="there is no strace, or it may not trace here")
@pytest.mark.parametrize("unsynced", [True, False], ids=["all-written", "only-what-was-synced"])
def test_a_box_comes_up_after_a_cut_in_the_middle_of_any_write(
    life: Life, tmp_path: Path, unsynced: bool
) -> None:
    chance = random.Random(7)
    writes = [
        number for number, call in enumerate(life.calls) if call.data and call.name == "write"
    ]
    moments = sorted(chance.sample(writes, MOMENTS // 2))
    disk, acknowledged, played = Disk(life.folder), set[str](), 0
    ran = set[int | None]()
    for number, moment in enumerate(moments):
        for call in life.calls[played:moment]:
            disk.play(call)
            if call.name == "said" and call.data.startswith(b"booked"):
                acknowledged.add(call.data.decode().split()[1])
        last = life.calls[moment]
        disk.play(replace(last, data=last.data[: chance.randrange(len(last.data))]))
        left = tmp_path / f"cut-{number}"
        disk.leave(left, unsynced=unsynced)
        ran.add(check(left, acknowledged, life.packaged))
        disk.play(last)
        played = moment + 1
    assert ran >= {0, *VERSIONS[:-1]}
    assert len(acknowledged) > 20


def check(left: Path, acknowledged: set[str], packaged: Path) -> int:
    """Come up on a disk; return the version of the bundle that decides."""
    ledger = Ledger(left / "ledger.db", "box-1")
    ledger.close()
    with sqlite3.connect(left / "ledger.db") as rows:
        assert rows.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        booked = {row[0] for row in rows.execute("SELECT event_id FROM entries")}
    assert acknowledged <= booked
    slots = Slots(left / "bundles", load_bundle)
    begin(slots, boot="another boot")
    bundle = load_bundle(slots.current or packaged)
    recogniser = Recogniser(bundle, runtime="openvino", threads=1)
    for number in range(CROPS):
        assert recogniser.decide([np.asarray(drawn(number), np.uint8)]).sku == f"p{number}"
    return bundle.version
