"""What the hub signs, as `tuf.ngclient` sees it: a client of another maker's, on the same files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from click.testing import CliRunner
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.commands import hub
from cloud_sync.hub.database import open_database
from cloud_sync.hub.repository import Repository
from cloud_sync.trust import Holders, Lifetimes
from cloud_sync.trust_keys import TrustError, load_public, load_signer, make_key
from edge.cli import main
from models.bundle import Bundle
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository


class FromFolder(FetcherInterface):
    """Reads a repository's folder."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = Path(urlparse(url).path).name
        path = self._repository.folder / "metadata" / name
        if not path.exists():
            raise DownloadHTTPError(name, 404)
        return iter([path.read_bytes()])


def a_client(repository: Repository, folder: Path, root: bytes) -> Updater:
    folder.mkdir(parents=True, exist_ok=True)
    return Updater(
        str(folder), "mqtt://hub/metadata", fetcher=FromFolder(repository), bootstrap=root
    )


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def repository(tmp_path: Path, keys: Keys) -> Repository:
    return a_repository(tmp_path / "repository", keys)


@pytest.fixture
def root(repository: Repository) -> bytes:
    return (repository.folder / "root.json").read_bytes()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("bundle"))


def test_every_file_of_a_bundle_is_a_target_of_its_own(
    repository: Repository, keys: Keys, bundle: Bundle, root: bytes, tmp_path: Path
) -> None:
    assert repository.push(bundle, keys.two).missing == 0
    client = a_client(repository, tmp_path / "device", root)
    for path in (p for p in bundle.path.rglob("*") if p.is_file()):
        target = client.get_targetinfo(f"drinks/1/{path.relative_to(bundle.path).as_posix()}")
        assert target is not None
        with repository.path_of(target.hashes["sha256"]).open("rb") as file:
            target.verify_length_and_hashes(file)
    (listed,) = repository.bundles()
    assert (listed.bundle, listed.version, listed.digest) == ("drinks", 1, bundle.digest)


def test_one_signature_of_two_publishes_nothing_and_the_second_does(
    repository: Repository, keys: Keys, bundle: Bundle
) -> None:
    assert repository.push(bundle, keys.targets[:1]).missing == 1
    assert repository.bundles() == []
    assert repository.sign_pending(keys.targets[:1]).missing == 1
    assert repository.sign_pending(keys.targets[2:]).missing == 0
    assert len(repository.bundles()) == 1


def test_a_strangers_key_signs_nothing(
    repository: Repository, bundle: Bundle, tmp_path: Path
) -> None:
    stranger = make_key(tmp_path / "stranger.pem")
    with pytest.raises(TrustError, match="none of this repository's targets keys"):
        repository.push(bundle, [stranger])


def test_two_pushes_that_wait_for_signatures_are_published_together(
    repository: Repository, keys: Keys, bundle: Bundle, tmp_path: Path
) -> None:
    repository.push(bundle, keys.targets[:1])
    repository.push(a_bundle(tmp_path, 2), keys.targets[:1])
    repository.sign_pending(keys.targets[1:2])
    assert [one.version for one in repository.bundles()] == [1, 2]
    assert repository.withdraw("drinks", 1, keys.two).missing == 0
    assert [one.version for one in repository.bundles()] == [2]
    with pytest.raises(TrustError, match="not in the repository"):
        repository.withdraw("drinks", 1, keys.two)


def test_a_list_is_signed_again_before_it_expires(
    repository: Repository, keys: Keys, bundle: Bundle
) -> None:
    repository.push(bundle, keys.two)
    later = Repository(repository.folder, Lifetimes(targets=timedelta(days=400)))
    ends = later.expiries()["targets"]
    assert later.sign_again(keys.two).missing == 0
    assert later.expiries()["targets"] > ends + timedelta(days=300)
    assert len(later.bundles()) == 1


def test_a_version_is_never_other_files(
    repository: Repository, keys: Keys, bundle: Bundle, tmp_path: Path
) -> None:
    repository.push(bundle, keys.two)
    assert repository.push(bundle, keys.two).missing == 0
    with pytest.raises(TrustError, match="higher version"):
        repository.push(a_bundle(tmp_path, 1, prices=7), keys.two)


def test_the_word_of_each_role_expires_and_the_hub_renews_its_own(
    tmp_path: Path, keys: Keys, bundle: Bundle
) -> None:
    lives = Lifetimes(timestamp=timedelta(seconds=1))
    repository = a_repository(tmp_path / "short", keys, lives)
    root = (repository.folder / "root.json").read_bytes()
    ends = repository.expiries()
    assert ends["timestamp"] < ends["snapshot"] < ends["targets"] < ends["root"]
    while datetime.now(UTC) < ends["timestamp"]:
        pass
    with pytest.raises(ExpiredMetadataError):
        a_client(repository, tmp_path / "a", root).refresh()
    patient = Repository(repository.folder)
    assert patient.renew()
    assert not patient.renew()
    a_client(repository, tmp_path / "b", root).refresh()


def test_root_hands_targets_to_others_and_clients_follow(
    repository: Repository, keys: Keys, bundle: Bundle, root: bytes, tmp_path: Path
) -> None:
    repository.push(bundle, keys.two)
    a_client(repository, tmp_path / "device", root).refresh()
    new = [make_key(tmp_path / f"new-{n}.pem") for n in (1, 2)]
    changes = {"targets": Holders(tuple(s.public_key for s in new), 2)}
    with pytest.raises(TrustError, match="too few of the old root keys"):
        repository.rotate(changes, [keys.root[0], *new])
    with pytest.raises(TrustError, match="2 more signatures"):
        repository.rotate(changes, keys.root[:2])
    assert repository.rotate(changes, [*keys.root[1:], *new]) == 2
    client = a_client(repository, tmp_path / "device", root)
    client.refresh()
    assert client.get_targetinfo("drinks/1/manifest.json") is not None
    with pytest.raises(TrustError, match="none of this repository's targets keys"):
        repository.withdraw("drinks", 1, keys.two)


def test_root_and_online_keys_can_be_replaced_too(
    repository: Repository, keys: Keys, root: bytes, tmp_path: Path
) -> None:
    new = [make_key(tmp_path / f"root-{n}.pem") for n in (4, 5)]
    make_key(tmp_path / "online-2.pem")
    changes = {"root": Holders(tuple(s.public_key for s in new), 2)}
    with pytest.raises(TrustError, match="too few of the new root keys"):
        repository.rotate(changes, keys.root[:2])
    assert repository.rotate(changes, [*keys.root[:2], *new], tmp_path / "online-2.pem") == 2
    a_client(repository, tmp_path / "device", root).refresh()
    assert repository.rotate({}, new) == 3
    a_client(repository, tmp_path / "device", root).refresh()


def test_a_root_that_nobody_signed_is_not_followed(
    repository: Repository, root: bytes, tmp_path: Path
) -> None:
    forged = json.loads(root)
    forged["signed"]["version"] = 2
    (repository.folder / "metadata" / "2.root.json").write_text(json.dumps(forged))
    with pytest.raises(RepositoryError):
        a_client(repository, tmp_path / "device", root).refresh()
    with pytest.raises(TrustError, match="not a root that can be trusted"):
        repository.root()


def test_keys_are_kept_locked_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    made = make_key(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_signer(path, b"secret").public_key == made.public_key
    assert load_public(path.with_suffix(".pub")).keyid == made.public_key.keyid
    with pytest.raises(TrustError, match="needs a passphrase"):
        load_signer(path)
    with pytest.raises(TrustError, match="not its passphrase"):
        load_signer(path, b"wrong")
    with pytest.raises(TrustError, match="never written over"):
        make_key(path)
    for other in (path.with_suffix(".pub"), tmp_path / "none.pem"):
        with pytest.raises(TrustError):
            load_signer(other)


def shelfgate(*arguments: str) -> dict[str, Any]:
    """Run a command with --json; return what it prints."""
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_the_commands_make_keys_a_repository_and_publish(tmp_path: Path, bundle: Bundle) -> None:
    where = ["--repository", str(tmp_path / "repository")]
    secret = tmp_path / "secret.txt"
    secret.write_text("open sesame\n")
    unlock = ["--passphrase-file", str(secret)]
    made = shelfgate("hub", "keys", "make", "--out", str(tmp_path / "keys"), *unlock)
    assert len(made["keys"]) == 7
    root = shelfgate("hub", "repository", "init", *where, "--keys", str(tmp_path / "keys"), *unlock)
    assert Path(root["root"]).is_file()
    one, two = (["--key", str(tmp_path / "keys" / f"targets-{n}.pem"), *unlock] for n in (1, 2))
    pushed = shelfgate("hub", "bundle", "push", str(bundle.path), *where, *one)
    assert (pushed["missing"], pushed["digest"]) == (1, bundle.digest)
    assert shelfgate("hub", "bundle", "sign", *where, *two)["missing"] == 0
    assert shelfgate("hub", "repository", "renew", *where)["expires"]
    shown = shelfgate("hub", "repository", "show", *where)
    assert [(b["bundle"], b["version"]) for b in shown["bundles"]] == [("drinks", 1)]
    database = ["--database", str(tmp_path / "hub.db")]
    shelfgate("hub", "migrate", *database)
    shelfgate("hub", "bundle", "push", str(bundle.path), *where, *one, *two[:2], *database)
    known = Bundles(open_database(database[1])).all()
    assert [(row.ref, row.digest) for row, _ in known] == [("drinks 1", bundle.digest)]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("repository show --repository /nowhere", "/nowhere: no repository here"),
        ("repository serve --repository /nowhere", "/nowhere: no repository here"),
        ("bundle push /nowhere --key /nowhere.pem", "/nowhere: no such bundle folder"),
        (
            "bundle sign --repository /nowhere --key /nowhere.pem",
            "/nowhere.pem: no such file or directory",
        ),
        ("bundle assign a 1 --to no-device", "'no-device' is no site/device"),
        ("bundle assign a/b 1 --to s/d", "bundle 'a/b': letters, digits"),
        ("keys make --out /etc/passwd", "/etc/passwd: is no folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, why: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = CliRunner().invoke(hub, arguments.split())
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {why}")
