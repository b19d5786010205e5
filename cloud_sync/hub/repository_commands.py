"""`shelfgate hub keys` and `hub repository`: who signs bundles, and where they lie."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from securesystemslib.signer import Key

from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.changes import Changes, read_log
from cloud_sync.hub.command_options import (
    BrokerLine,
    broker_options,
    me,
    opened_if_any,
    own_hub_option,
)
from cloud_sync.hub.logs import set_up_logs
from cloud_sync.hub.repository import Repository
from cloud_sync.hub.signing_options import (
    PATH,
    json_option,
    key_ids,
    key_options,
    passphrase_of,
    past_option,
    repository_option,
    say,
    signers_of,
)
from cloud_sync.messages import is_name
from cloud_sync.trust import Holders
from cloud_sync.trust_keys import TrustError, load_public, load_signer, make_key
from models.bad_input import BadInput


@contextmanager
def giving_out(folder: Path | None, broker: BrokerLine, name: str) -> Iterator[None]:
    """Give out a repository's files while something else runs; None for none.

    Raises BadInput where there is no repository.
    """
    if folder is None:
        yield
        return
    found = Repository(folder)
    try:
        found.root()
    except TrustError as error:
        raise BadInput(str(error)) from error
    server = BlockServer(found, broker.host, broker.port, name, broker.certificates)
    server.start()
    try:
        yield
    finally:
        server.stop()


@click.group()
def keys() -> None:
    """Make the keys that bundles are signed with.

    Example: shelfgate hub keys make --out keys --root 3 --targets 3
    """


@keys.command("make")
@click.option("--out", type=PATH, required=True, help="The folder they go to.")
@click.option("--root", default=3, show_default=True, help="Keys that say whose keys count.")
@click.option("--targets", default=3, show_default=True, help="Keys that sign bundles.")
@click.option("--passphrase-file", type=PATH, help="Its first line locks root and targets keys.")
@json_option
def make_keys(out: Path, root: int, targets: int, passphrase_file: Path | None,
              as_json: bool) -> None:  # fmt: skip
    """Make root, targets and online keys; keep root's and targets' away from the hub.

    Example: shelfgate hub keys make --out keys --passphrase-file secret.txt
    """
    passphrase = passphrase_of(passphrase_file)
    made = {}
    try:
        for role, count in (("root", root), ("targets", targets)):
            for number in range(1, count + 1):
                path = out / f"{role}-{number}.pem"
                made[str(path)] = make_key(path, passphrase).public_key.keyid
        made[str(out / "online.pem")] = make_key(out / "online.pem").public_key.keyid
    except TrustError as error:
        raise BadInput(str(error)) from error
    if passphrase is None:
        click.echo("the keys are not encrypted: guard the files, or use a passphrase", err=True)
    say(as_json, {"keys": made}, "\n".join(f"{name}  {keyid[:12]}" for name, keyid in made.items()))


@click.group()
def repository() -> None:
    """The signed repository of bundles.

    Example: shelfgate hub repository init --keys keys
    """


@repository.command()
@repository_option
@click.option("--keys", "keys_folder", type=PATH, required=True, help="What `hub keys make` made.")
@click.option("--root-threshold", default=2, show_default=True, help="Root signatures needed.")
@click.option("--targets-threshold", default=2, show_default=True, help="Signatures of a bundle.")
@click.option("--passphrase-file", type=PATH, help="Its first line unlocks the keys.")
@own_hub_option
@json_option
def init(folder: Path, keys_folder: Path, root_threshold: int, targets_threshold: int,
         passphrase_file: Path | None, database: str | None,
         as_json: bool) -> None:  # fmt: skip
    """Make an empty repository; prints the root.json that every device is given.

    Example: shelfgate hub repository init --repository state/repository --keys keys
    """
    passphrase = passphrase_of(passphrase_file)
    changes = Changes(me(), opened_if_any(database), folder)
    try:
        signers = {
            role: [load_signer(p, passphrase) for p in sorted(keys_folder.glob(f"{role}-*.pem"))]
            for role in ("root", "targets")
        }
        thresholds = {"root": root_threshold, "targets": targets_threshold}
        holders = {
            role: Holders(tuple(s.public_key for s in found), thresholds[role])
            for role, found in signers.items()
        }
        root = Repository(folder).create(
            holders, signers["root"], signers["targets"], keys_folder / "online.pem"
        )
        changes.write("repository.init", "root 1", thresholds=thresholds,
                      keys={role: key_ids(found) for role, found in signers.items()})  # fmt: skip
    except TrustError as error:
        raise BadInput(str(error)) from error
    say(as_json, {"root": str(root)}, f"{root}: copy it to every device, as [bundle] root")


@repository.command()
@repository_option
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Say which bundles there are, and each role's version and until when its word holds.

    Example: shelfgate hub repository show --json
    """
    found = Repository(folder)
    try:
        ends = {role: str(end) for role, end in found.expiries().items()}
        versions, listed = found.versions(), found.bundles()
    except TrustError as error:
        raise BadInput(str(error)) from error
    bundles = [
        {"bundle": b.bundle, "version": b.version, "digest": b.digest, "size": b.size}
        for b in listed
    ]
    lines = [f"{b.bundle} {b.version}  {b.files} files, {b.size} bytes" for b in listed]
    lines += [f"{role} {versions[role]} holds until {end}" for role, end in ends.items()]
    told = {"bundles": bundles, "expires": ends, "versions": versions}
    say(as_json, told, "\n".join(lines))


@repository.command()
@repository_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True,
              help="At most.")  # fmt: skip
@json_option
def log(folder: Path, limit: int, as_json: bool) -> None:
    """Say who changed what in the repository, newest first.

    Example: shelfgate hub repository log --limit 20
    """
    try:
        found = read_log(folder, limit)
    except TrustError as error:
        raise BadInput(str(error)) from error
    rows = [{**one, "at": datetime.fromtimestamp(one["at"], UTC).isoformat()} for one in found]
    lines = [f"{row['at']}  {row['who']}  {row['action']}  {row['subject']}" for row in rows]
    say(as_json, {"changes": found}, "\n".join(lines))


@repository.command()
@repository_option
@past_option
@own_hub_option
@json_option
def renew(folder: Path, past: int, database: str | None, as_json: bool) -> None:
    """Sign snapshot and timestamp again; a running server does so by itself.

    Example: shelfgate hub repository renew
    """
    changes = Changes(me(), opened_if_any(database), folder)
    try:
        Repository(folder).renew(always=True, past=past)
        ends = {role: str(end) for role, end in Repository(folder).expiries().items()}
        changes.write("repository.renew", "timestamp", holds_until=ends["timestamp"])
    except TrustError as error:
        raise BadInput(str(error)) from error
    say(as_json, {"expires": ends}, f"the timestamp holds until {ends['timestamp']}")


@repository.command()
@repository_option
@key_options
@click.option("--holder", "new", multiple=True, type=(str, PATH), metavar="ROLE PUB",
              help="Who holds root or targets from now on, all of them.")  # fmt: skip
@click.option("--threshold", "thresholds", multiple=True, type=(str, int), metavar="ROLE N",
              help="How many signatures of ROLE it takes; 2.")  # fmt: skip
@click.option("--online", type=PATH, help="A new online key.")
@own_hub_option
@json_option
def rotate(folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
           new: Sequence[tuple[str, Path]], thresholds: Sequence[tuple[str, int]],
           online: Path | None, database: str | None, as_json: bool) -> None:  # fmt: skip
    """Hand roles to other keys; signed by enough of the old root's keys and of the new one's.

    Example: shelfgate hub repository rotate --key root-1.pem --key root-2.pem
    --key targets-4.pem --key targets-5.pem --holder targets targets-4.pub
    --holder targets targets-5.pub
    """
    by_role: dict[str, list[Key]] = {}
    audit = Changes(me(), opened_if_any(database), folder)
    try:
        for role, path in new:
            if role not in ("root", "targets"):
                raise BadInput(f"--holder {role!r}: root or targets")
            by_role.setdefault(role, []).append(load_public(path))
        wanted = dict(thresholds)
        changes = {r: Holders(tuple(k), wanted.get(r, 2)) for r, k in by_role.items()}
        signers = signers_of(keys, passphrase_file)
        version = Repository(folder).rotate(changes, signers, online)
        holders = {r: [key.keyid[:12] for key in found] for r, found in by_role.items()}
        audit.write("repository.rotate", f"root {version}", holders=holders, thresholds=wanted,
                    online=online is not None, keys=key_ids(signers))  # fmt: skip
    except TrustError as error:
        raise BadInput(str(error)) from error
    say(as_json, {"root": version}, f"root {version} is published")


@repository.command()
@repository_option
@broker_options
@click.option("--name", default="1", show_default=True, help="This server's own name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object once it runs.")
def serve(folder: Path, broker: BrokerLine, name: str, as_json: bool) -> None:
    """Give devices the blocks they ask for, until interrupted.

    Example: shelfgate hub repository serve --broker-port 1883
    """
    if not is_name(name):
        raise BadInput(f"--name {name!r}: letters, digits and . _ : @ ~ - only")
    set_up_logs()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with giving_out(folder, broker, name):
        say(as_json, {"repository": str(folder)}, f"giving out {folder}")
        stop.wait()
