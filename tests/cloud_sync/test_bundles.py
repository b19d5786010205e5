"""A bundle from the hub's repository to the box that runs it, over a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_sync.broker import Broker
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.repository import Repository
from cloud_sync.trust import Lifetimes, next_targets, sign
from cloud_sync.trust_keys import make_key
from models.bundle import Bundle
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository, shelfgate
from tests.cloud_sync.a_device import until

WEIGHTS = 600_000


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Bundle]:
    """Versions of one bundle: 0 came with the package, the others differ in their prices."""
    folder = tmp_path_factory.mktemp("bundles")
    return {n: a_bundle(folder, n, weights=WEIGHTS, prices=100 + n) for n in (0, 1, 2)}


@pytest.fixture
def repository(tmp_path: Path, keys: Keys, bundles: dict[int, Bundle]) -> Repository:
    found = a_repository(tmp_path / "repository", keys)
    for version in (1, 2):
        found.push(bundles[version], keys.two)
    return found


@pytest.fixture
def served(broker: Broker, repository: Repository) -> Iterator[BlockServer]:
    server = BlockServer(repository, broker.host, broker.port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def box(
    tmp_path: Path, broker: Broker, repository: Repository, bundles: dict[int, Bundle]
) -> Iterator[Box]:
    root = (repository.folder / "root.json").read_bytes()
    one = Box(tmp_path / "box", broker.port, root, bundles[0].path, name=tmp_path.name)
    yield one
    one.stop()


@pytest.mark.slow
def test_a_bundle_is_fetched_tried_switched_to_and_kept(
    box: Box, served: BlockServer, broker: Broker, bundles: dict[int, Bundle]
) -> None:
    assert box.running == ("drinks", 0)
    box.want(1)
    box.comes_to("probation", 1)
    assert box.running == ("drinks", 1)
    # Only the prices differ from what came with the package.
    assert box.line.received_bytes < 20_000
    assert None not in box.decide()
    # What came with the package shares no block on the disk with what may rot.
    files = [path for path in bundles[0].path.rglob("*") if path.is_file()]
    assert [path for path in files if path.stat().st_nlink > 1] == []
    box.comes_to("committed", 1)
    until(lambda: box.at_hub().state == "running" and box.at_hub().bundle == "drinks 1")
    report = box.at_hub()
    assert report.digest == bundles[1].digest
    assert report.measures is not None
    assert report.measures.decisions == len(box.decide())

    box.want(2)
    box.comes_to("probation", 2)
    box.decide()
    box.comes_to("committed", 2)
    asked = box.line.received_bytes
    box.want(1)
    box.comes_to("probation", 1)
    assert box.running == ("drinks", 1)
    assert box.line.received_bytes - asked < 8_000, "it was in the other slot already"
    box.want(0)
    box.comes_to("committed", 0)
    assert box.running == ("drinks", 0)


def handed_on(repository: Repository, old: list[Path], folder: Path) -> list[Path]:
    """Hand every role to new keys, by the command; give the new keys of root.

    old: keys of root that hold it now.
    """
    names = [f"{role}-{n}" for role in ("root", "targets") for n in (1, 2)]
    for name in (*names, "online"):
        make_key(folder / f"{name}.pem")
    new = [folder / f"{name}.pem" for name in names]
    keys = [a for path in (*old, *new) for a in ("--key", str(path))]
    holders = [
        argument
        for name in names
        for argument in ("--holder", name.partition("-")[0], str(folder / f"{name}.pub"))
    ]
    where = ["--repository", str(repository.folder), "--online", str(folder / "online.pem")]
    shelfgate("hub", "repository", "rotate", *where, *keys, *holders)
    return new[:2]


@pytest.mark.slow
def test_a_box_follows_its_root_from_holder_to_holder_and_leaves_the_old_ones_behind(
    box: Box, served: BlockServer, repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    box.want(9)
    assert "nobody has signed a bundle drinks 9" in box.refuses(9)
    first = [keys.folder / f"root-{n}.pem" for n in (1, 2)]
    second = handed_on(repository, first, tmp_path / "second")
    box.want(1)
    box.comes_to("probation", 1)
    box.decide()
    box.comes_to("committed", 1)
    assert box.slots.state.trusted["root"] == 2
    # Two at once, as for a box that was away.
    third = handed_on(repository, second, tmp_path / "third")
    handed_on(repository, third, tmp_path / "fourth")
    box.want(2)
    box.comes_to("probation", 2)
    assert box.slots.state.trusted["root"] == 4
    # Somebody at the hub publishes what those of before have signed.
    listed = repository.targets()
    forged = next_targets(listed, listed.signed.targets, Lifetimes())
    sign(forged, keys.two)
    repository._publish(forged)
    box.want(8)
    assert "is not signed by enough of those who may: targets" in box.refuses(8)
    assert box.running == ("drinks", 2)
