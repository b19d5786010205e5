"""A repository restored from yesterday's backup: what a box says, and what its holders do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_sync.broker import Broker
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.trust import Holders
from cloud_sync.trust_keys import TrustError, make_key
from models.bundle import Bundle
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository, shelfgate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return [a_bundle(folder, n, prices=100 + n) for n in (0, 1, 2)]


class Restored:
    """A repository with a box at it, and a backup of the repository."""

    def __init__(self, folder: Path, broker: Broker, keys: Keys, bundles: list[Bundle]) -> None:
        self.repository = a_repository(folder / "repository", keys)
        self.repository.push(bundles[1], keys.two)
        self._backup = folder / "backup"
        shutil.copytree(self.repository.folder, self._backup)
        self.server = BlockServer(self.repository, broker.host, broker.port, folder.name)
        self.server.start()
        root = (self.repository.folder / "root.json").read_bytes()
        self.box = Box(folder / "box", broker.port, root, bundles[0].path, name=folder.name)

    @property
    def where(self) -> list[str]:
        return ["--repository", str(self.repository.folder)]

    def is_seen(self) -> None:
        """Have the box look at what is signed."""
        self.box.want(9)
        assert "nobody has signed a bundle drinks 9" in self.box.refuses(9)

    def is_set_back(self) -> str:
        """Restore the backup; give the highest version that the box says it has seen."""
        shutil.rmtree(self.repository.folder)
        shutil.copytree(self._backup, self.repository.folder)
        self.box.want(1)
        reason = self.box.refuses(1)
        assert self.box.running == ("drinks", 0)
        _, found, seen = reason.partition("this box has seen")
        assert found, reason
        return max(re.findall(r"\d+", seen), key=int)

    def stop(self) -> None:
        self.box.stop()
        self.server.stop()


@pytest.fixture
def restored(
    tmp_path: Path, broker: Broker, keys: Keys, bundles: list[Bundle]
) -> Iterator[Restored]:
    one = Restored(tmp_path, broker, keys, bundles)
    yield one
    one.stop()


def test_where_no_bundle_was_pushed_since_the_hubs_own_key_is_enough(restored: Restored) -> None:
    for _ in range(3):
        restored.repository.renew(always=True)
    restored.is_seen()
    seen = restored.is_set_back()
    shelfgate("hub", "repository", "renew", *restored.where)
    restored.box.want(2)
    assert "this box has seen" in restored.box.refuses(2), "one version further is not beyond"
    shelfgate("hub", "repository", "renew", *restored.where, "--past", seen)
    restored.box.want(1)
    restored.box.comes_to("probation", 1)


def test_where_bundles_were_pushed_since_their_holders_sign_the_list_again(
    restored: Restored, keys: Keys, bundles: list[Bundle]
) -> None:
    restored.repository.push(bundles[2], keys.two)
    restored.is_seen()
    seen = restored.is_set_back()
    shelfgate("hub", "repository", "renew", *restored.where, "--past", seen)
    restored.box.want(2)
    assert "this box has seen" in restored.box.refuses(2), "the hub's own key says nothing of lists"
    renewed = shelfgate(
        "hub", "bundle", "renew", *restored.where, *keys.as_arguments(), "--past", seen
    )
    versions = shelfgate("hub", "repository", "show", *restored.where)["versions"]
    assert int(seen) < renewed["targets"] == versions["targets"]
    assert versions["timestamp"] >= versions["snapshot"] >= versions["targets"]
    restored.box.want(1)
    restored.box.comes_to("probation", 1)
    restored.box.decide()
    restored.box.comes_to("committed", 1)
    pushed = str(bundles[2].path)
    shelfgate("hub", "bundle", "push", pushed, *restored.where, *keys.as_arguments())
    restored.box.want(2)
    restored.box.comes_to("probation", 2)


def test_a_root_that_the_backup_lacks_is_put_back_from_a_box(
    restored: Restored, keys: Keys, bundles: list[Bundle], tmp_path: Path
) -> None:
    new = [make_key(tmp_path / f"new-{n}.pem") for n in (1, 2)]
    make_key(tmp_path / "online-2.pem")
    changes = {"targets": Holders(tuple(s.public_key for s in new), 2)}
    signers = [*keys.root[:2], *new]
    assert restored.repository.rotate(changes, signers, tmp_path / "online-2.pem") == 2
    restored.is_seen()
    seen = restored.is_set_back()
    history = restored.box.slots.folder / "trust" / "root_history"
    shutil.copy(history / "2.root.json", restored.repository.folder / "metadata")
    with pytest.raises(TrustError, match="another online key than the one here"):
        restored.repository.renew(always=True)
    shutil.copy(tmp_path / "online-2.pem", restored.repository.folder / "online" / "online.pem")
    restored.repository.sign_again(new, int(seen))
    restored.box.want(1)
    restored.box.comes_to("probation", 1)
