"""Every way we know to push a bad bundle onto a box: refused, with a reason, and the box goes on.

The attacker here holds the broker or the hub's disk: files and metadata are what he likes, but he
has no more keys than a test says. The box is a real one but for its cameras, the broker is real,
and so are the networks.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from cloud_sync.blocks import BLOCK, Block, BlockAsk, encode_block
from cloud_sync.broker import Broker
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.repository import Repository
from cloud_sync.topics import Channel
from cloud_sync.trust import Lifetimes, sign
from cloud_sync.trust_keys import make_key
from models.bundle import Bundle
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import until

WEIGHTS = 300_000


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Bundle]:
    """What came with the package, and what the hub pushes; they differ in network and prices."""
    folder = tmp_path_factory.mktemp("bundles")
    return {n: a_bundle(folder, n, weights=WEIGHTS + 960 * n, prices=100 + n) for n in (0, 1, 2)}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def repository(tmp_path: Path, keys: Keys, bundles: dict[int, Bundle]) -> Repository:
    found = a_repository(tmp_path / "repository", keys)
    found.push(bundles[1], keys.two)
    return found


class Attacked:
    """A box, its hub's disk, and whoever sits there."""

    def __init__(
        self, folder: Path, broker: Broker, repository: Repository, packaged: Path, keys: Keys
    ) -> None:
        self.repository, self.keys, self.broker = repository, keys, broker
        self.metadata = repository.folder / "metadata"
        self._folder, self._packaged = folder, packaged
        self.root = (repository.folder / "root.json").read_bytes()
        self.server = BlockServer(repository, broker.host, broker.port, folder.name)
        self.server.start()
        self.box = self.a_box()

    def a_box(self, name: str = "") -> Box:
        return Box(
            self._folder / "box", self.broker.port, self.root, self._packaged,
            name=name or self._folder.name, again_s=60.0,
        )  # fmt: skip

    def refused(self, because: str, version: int = 1) -> str:
        """The wanted bundle is refused: on the box, at the hub, and nothing is changed."""
        self.box.want(version)
        reason = self.box.refuses(version)
        assert because in reason, reason
        assert self.box.running == ("drinks", 0)
        assert None not in self.box.decide()

        def told() -> tuple[str, str, str | None]:
            report = self.box.at_hub()
            return report.state, report.detail, report.failed_bundle

        until(lambda: told() == ("failed", reason, f"drinks {version}"))
        return reason

    def stop(self) -> None:
        self.box.stop()
        self.server.stop()

    # What an attacker with the hub's disk, and so with the online key, can do.

    def edited(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a metadata file, and leave its signatures as they are."""
        path = self.metadata / name
        content = json.loads(path.read_bytes())
        change(content["signed"])
        path.write_text(json.dumps(content))

    def resigned(self, targets: Metadata[Targets]) -> None:
        """Put a list of targets in place of the published one, with a timestamp that is right."""
        version = targets.signed.version
        (self.metadata / f"{version}.targets.json").unlink(missing_ok=True)
        self.repository._publish(targets)


@pytest.fixture
def attacked(
    tmp_path: Path,
    broker: Broker,
    repository: Repository,
    bundles: dict[int, Bundle],
    keys: Keys,
) -> Iterator[Attacked]:
    one = Attacked(tmp_path, broker, repository, bundles[0].path, keys)
    yield one
    one.stop()


def test_an_altered_file(attacked: Attacked) -> None:
    largest = max((attacked.repository.folder / "files").iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    reason = attacked.refused("is not the file that was signed")
    assert "models/small." in reason
    assert not list((attacked.box.slots.folder / "downloads").glob("*.part"))


def test_an_altered_manifest(attacked: Attacked, bundles: dict[int, Bundle]) -> None:
    path = attacked.repository.folder / "files" / bundles[1].digest
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 9'))
    attacked.refused("manifest.json is not the file that was signed")


@pytest.mark.parametrize("role", ["timestamp", "1.snapshot", "2.targets"])
def test_altered_metadata(attacked: Attacked, role: str) -> None:
    found = sorted(path.name for path in attacked.metadata.iterdir())
    name = next(n for n in found[::-1] if n.endswith(f"{role.split('.')[-1]}.json"))
    attacked.edited(name, lambda signed: signed.update(expires="2099-01-01T00:00:00Z"))
    attacked.refused("the signed metadata")


def test_an_older_version_replayed(attacked: Attacked, bundles: dict[int, Bundle]) -> None:
    kept = attacked.metadata.parent / "kept"
    shutil.copytree(attacked.metadata, kept)
    attacked.repository.push(bundles[2], attacked.keys.two)
    attacked.box.want(9)
    assert "nobody has signed a bundle drinks 9" in attacked.box.refuses(9)
    shutil.rmtree(attacked.metadata)
    shutil.copytree(kept, attacked.metadata)
    attacked.refused("an old one")


def test_an_older_version_replayed_to_a_box_that_lost_its_metadata(
    attacked: Attacked, bundles: dict[int, Bundle]
) -> None:
    kept = attacked.metadata.parent / "kept"
    shutil.copytree(attacked.metadata, kept)
    attacked.repository.push(bundles[2], attacked.keys.two)
    attacked.box.want(9)
    attacked.box.refuses(9)
    for path in (attacked.box.slots.folder / "trust").glob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"")
    shutil.rmtree(attacked.metadata)
    shutil.copytree(kept, attacked.metadata)
    attacked.refused("older than what this box has seen")


@pytest.mark.parametrize("role", ["timestamp", "targets"])
def test_expired_metadata(
    tmp_path: Path, broker: Broker, bundles: dict[int, Bundle], keys: Keys, role: str
) -> None:
    lives = Lifetimes(**{role: timedelta(seconds=2)})
    repository = a_repository(tmp_path / "short", keys, lives)
    repository.push(bundles[1], keys.two)
    ends = repository.expiries()[role]
    repository.renew = lambda **_: False  # type: ignore[method-assign]  # the hub is held still
    attacked = Attacked(tmp_path, broker, repository, bundles[0].path, keys)
    try:
        until(lambda: datetime.now(UTC) > ends)
        attacked.refused("has expired")
    finally:
        attacked.stop()


def test_versions_mixed_and_matched(attacked: Attacked, bundles: dict[int, Bundle]) -> None:
    old = (attacked.metadata / "2.targets.json").read_bytes()
    attacked.repository.push(bundles[2], attacked.keys.two)
    (attacked.metadata / "3.targets.json").write_bytes(old)
    attacked.refused("is not the file that was vouched for", version=2)


def test_a_list_of_targets_of_another_time_under_a_right_timestamp(
    attacked: Attacked, bundles: dict[int, Bundle]
) -> None:
    old = Metadata[Targets].from_file(str(attacked.metadata / "2.targets.json"))
    attacked.repository.push(bundles[2], attacked.keys.two)
    attacked.box.want(9)
    attacked.box.refuses(9)
    attacked.resigned(old)
    attacked.refused("an old one")


class Endless:
    """Answers every ask with more than was asked for."""

    def __init__(self, server: BlockServer, only: str = "") -> None:
        self.sent = 0
        self._server, self._only, self._answer = server, only, server._answer
        server._answer = self._flood  # type: ignore[method-assign]

    def _flood(self, address: Any, ask: BlockAsk) -> None:
        if self._only and self._only not in ask.file:
            self._answer(address, ask)
            return
        for number in ask.numbers:
            self.sent += BLOCK
            block = Block(file=ask.file, number=number, size=ask.size, total=2**50,
                          data=b" " * ask.size)  # fmt: skip
            self._server._publish(address.topic(Channel.BLOCKS), encode_block(block))


@pytest.mark.parametrize("what", ["timestamp", "targets", "root"])
def test_endless_metadata(attacked: Attacked, what: str) -> None:
    flood = Endless(attacked.server, what)
    reason = attacked.refused("is longer than it may be")
    assert flood.sent < 8_000_000, reason


def test_an_endless_file(attacked: Attacked, bundles: dict[int, Bundle]) -> None:
    files = json.loads((bundles[1].path / "manifest.json").read_bytes())["files"]
    flood = Endless(attacked.server, files["models/small.bin"]["sha256"])
    attacked.refused("are signed for")
    assert flood.sent < 40 * BLOCK


def test_an_endless_manifest(attacked: Attacked, bundles: dict[int, Bundle]) -> None:
    Endless(attacked.server, bundles[1].digest)
    attacked.refused("is longer than")


def test_a_wrong_key(attacked: Attacked, tmp_path: Path) -> None:
    strangers = [make_key(tmp_path / f"stranger-{n}.pem") for n in (1, 2)]
    forged = _next_targets(attacked)
    sign(forged, strangers)
    attacked.resigned(forged)
    attacked.refused("not signed by enough")


def test_one_signature_of_two(attacked: Attacked) -> None:
    forged = _next_targets(attacked)
    sign(forged, attacked.keys.targets[:1])
    attacked.resigned(forged)
    reason = attacked.refused("not signed by enough")
    assert "1/2" in reason


def test_one_signature_counted_twice(attacked: Attacked) -> None:
    forged = _next_targets(attacked)
    sign(forged, [attacked.keys.targets[0], attacked.keys.targets[0]])
    content = forged.to_dict()
    content["signatures"] *= 2
    attacked.resigned(forged)
    version = forged.signed.version
    (attacked.metadata / f"{version}.targets.json").write_text(json.dumps(content))
    attacked.refused("the signed metadata")


def _next_targets(attacked: Attacked) -> Metadata[Targets]:
    forged = copy.deepcopy(attacked.repository.targets())
    forged.signed.version += 1
    forged.signatures.clear()
    return forged


@pytest.mark.parametrize("signers", ["targets", "stranger", "one root key"])
def test_a_key_rotated_by_a_non_root(attacked: Attacked, tmp_path: Path, signers: str) -> None:
    stranger = make_key(tmp_path / "stranger.pem")
    forged: Metadata[Root] = copy.deepcopy(attacked.repository.root())
    root = forged.signed
    root.version = 2
    for keyid in list(root.roles["targets"].keyids):
        root.revoke_key(keyid, "targets")
    root.add_key(stranger.public_key, "targets")
    root.roles["targets"].threshold = 1
    forged.signatures.clear()
    chosen: dict[str, list[CryptoSigner]] = {
        "targets": attacked.keys.targets,
        "stranger": [stranger],
        "one root key": attacked.keys.root[:1],
    }
    sign(forged, chosen[signers])
    (attacked.metadata / "2.root.json").write_bytes(forged.to_bytes())
    attacked.refused("not signed by enough")


@pytest.mark.parametrize(
    "name",
    ["../../../state.json", "/etc/cron.d/x", "models/../../b", "a\\b", "models/./small.bin"],
)
def test_names_that_lead_outside(
    attacked: Attacked, bundles: dict[int, Bundle], tmp_path: Path, name: str
) -> None:
    """Signed by enough holders, whose hands were led: the name itself is refused."""
    manifest = json.loads((bundles[1].path / "manifest.json").read_bytes())
    manifest["files"][name] = manifest["files"].pop("models/small.bin")
    _publish_by_hand(attacked, manifest, 7)
    attacked.refused("no path inside the bundle", version=7)
    assert not (tmp_path / "box" / "bundles" / "b").exists()


def test_a_link_pushed_and_a_link_put_into_the_slot(
    attacked: Attacked, bundles: dict[int, Bundle], tmp_path: Path
) -> None:
    copied = tmp_path / "linked"
    shutil.copytree(bundles[1].path, copied)
    (copied / "catalogue.csv").unlink()
    (copied / "catalogue.csv").symlink_to("/etc/passwd")
    files = attacked.repository.folder / "files"
    manifest = json.loads((copied / "manifest.json").read_bytes())
    digest = manifest["files"]["catalogue.csv"]["sha256"]
    (files / digest).unlink()
    (files / digest).symlink_to("/etc/passwd")
    attacked.refused("catalogue.csv")


def test_a_file_that_only_the_manifest_knows(
    attacked: Attacked, bundles: dict[int, Bundle]
) -> None:
    manifest = json.loads((bundles[1].path / "manifest.json").read_bytes())
    manifest["files"]["models/more.so"] = {"sha256": "0" * 64, "size": 5}
    _publish_by_hand(attacked, manifest, 7)
    attacked.refused("nobody has signed it", version=7)


def _publish_by_hand(attacked: Attacked, manifest: dict[str, Any], version: int) -> None:
    """Sign a manifest and those of its files whose names TUF takes, without a look at either."""
    import hashlib

    content = json.dumps(manifest).encode()
    digest = hashlib.sha256(content).hexdigest()
    (attacked.repository.folder / "files" / digest).write_bytes(content)
    listed = _next_targets(attacked)
    names = {f"drinks/{version}/manifest.json": (digest, len(content))}
    for name, entry in manifest["files"].items():
        if "more" not in name:
            names[f"drinks/{version}/{name}"] = (entry["sha256"], entry["size"])
    for name, (sha, size) in names.items():
        listed.signed.targets[name] = TargetFile(size, {"sha256": sha}, name)
    sign(listed, attacked.keys.two)
    attacked.resigned(listed)


def test_what_was_refused_for_its_delivery_is_taken_once_that_is_right(
    attacked: Attacked, bundles: dict[int, Bundle]
) -> None:
    path = attacked.repository.folder / "files" / bundles[1].digest
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    attacked.refused("is not the file that was signed")
    path.write_bytes(right)
    attacked.box.want(1)
    attacked.box.comes_to("probation", 1)
    assert attacked.box.running == ("drinks", 1)
