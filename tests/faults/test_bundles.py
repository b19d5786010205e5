"""Every way we know to push a bad bundle onto a box: refused, with a reason, and the box goes on.

The reason is the same on the box, at its hub and on its page.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from cloud_sync.blocks import BLOCK
from cloud_sync.broker import Broker
from cloud_sync.hub.repository import Repository
from cloud_sync.trust import Lifetimes, sign
from cloud_sync.trust_keys import TrustError, make_key
from edge.cli import main
from models.bundle import Bundle, load_bundle
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import HubProcess, until
from tests.faults.a_refusal import goes_on, is_told
from tests.faults.an_attack import Attacked, Endless, next_targets, publish_by_hand

WEIGHTS = 300_000


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def hub(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("hub")
    running = HubProcess(str(folder / "hub.db"), broker.port, folder / "hub.log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Bundle]:
    """What came with the package, and what the hub pushes; they differ in network and prices."""
    folder = tmp_path_factory.mktemp("bundles")
    return {n: a_bundle(folder, n, weights=WEIGHTS + 960 * n, prices=100 + n) for n in (0, 1, 2)}


@pytest.fixture
def repository(tmp_path: Path, keys: Keys, bundles: dict[int, Bundle]) -> Repository:
    found = a_repository(tmp_path / "repository", keys)
    found.push(bundles[1], keys.two)
    return found


@pytest.fixture
def attacked(
    tmp_path: Path,
    broker: Broker,
    hub: HubProcess,
    repository: Repository,
    bundles: dict[int, Bundle],
    keys: Keys,
) -> Iterator[Attacked]:
    one = Attacked(tmp_path, broker, hub, repository, bundles[0].path, keys)
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
    tmp_path: Path, broker: Broker, hub: HubProcess, bundles: dict[int, Bundle], keys: Keys,
    role: str,
) -> None:  # fmt: skip
    lives = Lifetimes(**{role: timedelta(seconds=2)})
    repository = a_repository(tmp_path / "short", keys, lives)
    repository.push(bundles[1], keys.two)
    ends = repository.expiries()[role]
    repository.renew = lambda **_: False  # type: ignore[method-assign]  # the hub is held still
    attacked = Attacked(tmp_path, broker, hub, repository, bundles[0].path, keys)
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
    forged = next_targets(attacked)
    sign(forged, strangers)
    attacked.resigned(forged)
    attacked.refused("not signed by enough")


def test_one_signature_of_two(attacked: Attacked) -> None:
    forged = next_targets(attacked)
    sign(forged, attacked.keys.targets[:1])
    attacked.resigned(forged)
    reason = attacked.refused("not signed by enough")
    assert "1/2" in reason


def test_one_signature_counted_twice(attacked: Attacked) -> None:
    forged = next_targets(attacked)
    sign(forged, [attacked.keys.targets[0], attacked.keys.targets[0]])
    content = forged.to_dict()
    content["signatures"] *= 2
    attacked.resigned(forged)
    version = forged.signed.version
    (attacked.metadata / f"{version}.targets.json").write_text(json.dumps(content))
    attacked.refused("the signed metadata")


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
def test_names_that_lead_outside(attacked: Attacked, bundles: dict[int, Bundle], name: str) -> None:
    """Signed by enough holders, whose hands were led: the name itself is refused."""
    manifest = json.loads((bundles[1].path / "manifest.json").read_bytes())
    manifest["files"][name] = manifest["files"].pop("models/small.bin")
    publish_by_hand(attacked, manifest, 7)
    assert f"drinks/7/{name}" in attacked.repository.targets().signed.targets
    attacked.refused("no path inside the bundle", version=7)
    place = attacked.box.slots.folder / "next" / "bundle"
    assert not Path(os.path.normpath(place / name)).exists()


@pytest.mark.parametrize("bundle", ["../drinks", "drinks/../drinks", "/drinks"])
def test_a_wish_for_a_name_that_leads_outside(attacked: Attacked, bundle: str) -> None:
    attacked.refused("is no bundle's name and version", bundle=bundle)


def a_link(path: Path, away: Path) -> None:
    """Put a link in a file's place, or in a folder's; what stood there is moved away."""
    path.rename(away)
    path.symlink_to(away)


@pytest.mark.parametrize("name", ["catalogue.csv", "selftest"])
def test_a_folder_with_a_link_in_it_is_not_pushed(
    attacked: Attacked, bundles: dict[int, Bundle], tmp_path: Path, name: str
) -> None:
    linked = tmp_path / "linked"
    shutil.copytree(bundles[2].path, linked)
    opened = load_bundle(linked)
    a_link(linked / name, tmp_path / "away")
    repository = ["--repository", str(attacked.repository.folder)]
    done = CliRunner().invoke(
        main, ["hub", "bundle", "push", str(linked), *repository, *attacked.keys.as_arguments()]
    )
    assert done.exit_code == 2, done.output
    assert f"{name} is a link; a bundle holds plain files only" in done.output
    with pytest.raises(TrustError, match=f"{name} is a link"):
        attacked.repository.push(opened, attacked.keys.two)
    attacked.refused("nobody has signed a bundle drinks 2", version=2)


def test_a_link_at_the_hub_in_place_of_a_file(
    attacked: Attacked, bundles: dict[int, Bundle]
) -> None:
    manifest = json.loads((bundles[1].path / "manifest.json").read_bytes())
    digest = manifest["files"]["catalogue.csv"]["sha256"]
    (attacked.repository.folder / "files" / digest).unlink()
    (attacked.repository.folder / "files" / digest).symlink_to("/etc/passwd")
    attacked.refused("catalogue.csv is not the file that was signed")


@pytest.mark.parametrize("what", ["a", "a/bundle", "a/bundle/catalogue.csv"])
def test_a_link_put_into_the_slot_that_runs(attacked: Attacked, tmp_path: Path, what: str) -> None:
    """What it leads to is the very same; but whoever holds that could change it at any time."""
    attacked.box.want(1)
    attacked.box.comes_to("probation", 1)
    attacked.box.stop()
    a_link(attacked.box.slots.folder / what, tmp_path / "away")
    attacked.box = attacked.a_box()
    attacked.box.comes_to("rolled_back", 1)
    is_told(attacked.box, attacked.hub, 1, "is a link")
    assert (tmp_path / "away").exists()


@pytest.mark.parametrize("what", ["a", "next", "downloads/{}", "downloads/{}.part"])
def test_a_link_that_waits_where_a_bundle_will_be_put(
    attacked: Attacked, bundles: dict[int, Bundle], tmp_path: Path, what: str
) -> None:
    """It is taken away, what it leads to is let be, and the bundle is put in its place."""
    manifest = json.loads((bundles[1].path / "manifest.json").read_bytes())
    away = tmp_path / "away"
    if what in ("a", "next"):
        away.mkdir()
        (away / "precious").write_bytes(b"let it be")
    else:
        away.write_bytes(b"let it be")
    link = attacked.box.slots.folder / what.format(manifest["files"]["models/small.bin"]["sha256"])
    link.symlink_to(away)
    attacked.box.want(1)
    attacked.box.comes_to("probation", 1)
    goes_on(attacked.box, runs=1)
    assert linked_in(attacked.box) == []
    assert not link.is_symlink()
    left = list(away.iterdir()) if away.is_dir() else [away]
    assert [path.read_bytes() for path in left] == [b"let it be"]


def test_a_link_is_not_taken_over_into_the_next_bundle(
    attacked: Attacked, bundles: dict[int, Bundle], tmp_path: Path
) -> None:
    attacked.repository.push(bundles[2], attacked.keys.two)
    attacked.box.want(1)
    attacked.box.comes_to("probation", 1)
    attacked.box.decide()
    attacked.box.comes_to("committed", 1)
    shared = next((attacked.box.slots.folder / "a" / "bundle" / "selftest").glob("*.png"))
    a_link(shared, tmp_path / "away")
    attacked.box.want(2)
    attacked.box.comes_to("probation", 2)
    goes_on(attacked.box, runs=2)
    assert linked_in(attacked.box) == [shared]


def linked_in(box: Box) -> list[Path]:
    """Give the links in a box's slots and downloads."""
    folders = [box.slots.folder / name for name in ("a", "b", "next", "downloads")]
    return [path for folder in folders for path in folder.rglob("*") if path.is_symlink()]


def test_a_file_that_only_the_manifest_knows(
    attacked: Attacked, bundles: dict[int, Bundle]
) -> None:
    manifest = json.loads((bundles[1].path / "manifest.json").read_bytes())
    manifest["files"]["models/more.so"] = {"sha256": "0" * 64, "size": 5}
    publish_by_hand(attacked, manifest, 7)
    attacked.refused("nobody has signed it", version=7)


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
