"""Hub, repository, rollout and boxes together, from `bundle push` to how the rollout ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_sync.broker import Broker
from tests.cloud_sync.a_box import SITE, Box
from tests.cloud_sync.a_bundle import (
    KNOWS_NOTHING,
    Keys,
    RepositoryProcess,
    a_bundle,
    a_repository,
    shelfgate,
)
from tests.cloud_sync.a_device import HubProcess, until


class Fleet:
    """Two boxes, the hub, and its repository."""

    def __init__(self, broker: Broker, hub: HubProcess, folder: Path) -> None:
        self.keys = Keys(folder / "keys")
        self.repository = a_repository(folder / "repository", self.keys)
        self.hub, self._folder = hub, folder
        self._database = ["--database", str(folder / "hub.db")]
        self.served = RepositoryProcess(self.repository.folder, broker.port)
        packaged = a_bundle(folder, 0)
        root = (self.repository.folder / "root.json").read_bytes()
        self.boxes = [
            Box(folder / name, broker.port, root, packaged.path, name=name)
            for name in ("box-1", "box-2")
        ]
        for box in self.boxes:
            box.decide(24)
        until(lambda: len(hub.get("/devices")) == 2)

    def push(self, bundle: Any) -> None:
        where = ["--repository", str(self.repository.folder), *self.keys.as_arguments()]
        shelfgate("hub", "bundle", "push", str(bundle.path), *where, *self._database)

    def roll_out(self, version: int) -> str:
        stages = ["--stage", "1", "--stage", "100%", "--soak-s", "0.5", "--max-failed", "0.4"]
        begun = shelfgate("hub", "rollout", "start", f"drinks {version}", "--site", SITE, *stages,
                          *self._database)  # fmt: skip
        return str(begun["id"])

    def state(self, rollout: str) -> str:
        return str(self.hub.get(f"/rollouts/{rollout}")["state"])

    def stop(self) -> None:
        for box in self.boxes:
            box.stop()
        self.served.stop()


@pytest.fixture
def fleet(broker: Broker, hub: HubProcess, tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(broker, hub, tmp_path)
    yield one
    one.stop()


@pytest.mark.slow
def test_a_good_bundle_reaches_all_and_a_bad_one_the_canary_alone(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.push(a_bundle(tmp_path, 1, prices=120))
    good = fleet.roll_out(1)

    def shop() -> None:
        for box in fleet.boxes:
            box.decide()

    def done(rollout: str, *states: str) -> bool:
        shop()
        return fleet.state(rollout) in states

    until(lambda: done(good, "done"), 120)
    assert [box.running for box in fleet.boxes] == [("drinks", 1)] * 2

    fleet.push(a_bundle(tmp_path, 2, thresholds=KNOWS_NOTHING))
    ran: set[tuple[str, int]] = set()
    bad = fleet.roll_out(2)

    def over() -> bool:
        ran.update((box.address.device, box.running[1]) for box in fleet.boxes)
        return done(bad, "aborted", "rolled_back")

    until(over, 120)
    until(lambda: [box.running for box in fleet.boxes] == [("drinks", 1)] * 2, 60)
    assert len({device for device, version in ran if version == 2}) == 1
    assert all(box.status.phase in ("committed", "rolled_back") for box in fleet.boxes)
