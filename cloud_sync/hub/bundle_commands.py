"""`shelfgate hub keys`, `hub repository` and `hub bundle`: sign bundles and give them out."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from securesystemslib.signer import Key, Signer

from cloud_sync.hub.assign import BrokerSilent, assign, reported
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.command_options import (
    DATABASE_VARIABLE,
    BadInput,
    BrokerLine,
    address_of,
    broker_options,
    me,
    opened,
)
from cloud_sync.hub.fleet import FleetError
from cloud_sync.hub.repository import Pending, Repository
from cloud_sync.messages import MessageError, is_name
from cloud_sync.topics import Address
from cloud_sync.trust import Holders
from cloud_sync.trust_keys import TrustError, load_public, load_signer, make_key
from models.bundle import Bundle, BundleError, load_bundle

F = TypeVar("F", bound=Callable[..., None])
PATH = click.Path(path_type=Path)
DEFAULT_REPOSITORY = "state/repository"


def _repository(command: F) -> F:
    return click.option(
        "--repository", "folder", type=PATH, default=DEFAULT_REPOSITORY, show_default=True,
        envvar="SHELFGATE_HUB_REPOSITORY", help="The repository's folder.",
    )(command)  # fmt: skip


def _keys(command: F) -> F:
    command = click.option(
        "--passphrase-file", type=PATH, help="The first line of this file unlocks the keys."
    )(command)
    return click.option(
        "--key", "keys", type=PATH, multiple=True, required=True, metavar="PEM",
        help="A secret key to sign with; several times for several.",
    )(command)  # fmt: skip


def _json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


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
@_json
def make_keys(out: Path, root: int, targets: int, passphrase_file: Path | None,
              as_json: bool) -> None:  # fmt: skip
    """Make root, targets and online keys; keep root's and targets' away from the hub.

    Example: shelfgate hub keys make --out keys --passphrase-file secret.txt
    """
    passphrase = _passphrase(passphrase_file)
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
    _say(
        as_json, {"keys": made}, "\n".join(f"{name}  {keyid[:12]}" for name, keyid in made.items())
    )


@click.group()
def repository() -> None:
    """The signed repository of bundles.

    Example: shelfgate hub repository init --keys keys
    """


@repository.command()
@_repository
@click.option("--keys", "keys_folder", type=PATH, required=True, help="What `hub keys make` made.")
@click.option("--root-threshold", default=2, show_default=True, help="Root signatures needed.")
@click.option("--targets-threshold", default=2, show_default=True, help="Signatures of a bundle.")
@click.option("--passphrase-file", type=PATH, help="Its first line unlocks the keys.")
@_json
def init(folder: Path, keys_folder: Path, root_threshold: int, targets_threshold: int,
         passphrase_file: Path | None, as_json: bool) -> None:  # fmt: skip
    """Make an empty repository; prints the root.json that every device is given.

    Example: shelfgate hub repository init --repository state/repository --keys keys
    """
    passphrase = _passphrase(passphrase_file)
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
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say(as_json, {"root": str(root)}, f"{root}: copy it to every device, as [bundle] root")


@repository.command()
@_repository
@_json
def show(folder: Path, as_json: bool) -> None:
    """Say which bundles there are, and until when each role's word holds.

    Example: shelfgate hub repository show --json
    """
    found = Repository(folder)
    try:
        ends = {role: str(end) for role, end in found.expiries().items()}
        listed = found.bundles()
    except TrustError as error:
        raise BadInput(str(error)) from error
    bundles = [
        {"bundle": b.bundle, "version": b.version, "digest": b.digest, "size": b.size}
        for b in listed
    ]
    lines = [f"{b.bundle} {b.version}  {b.files} files, {b.size} bytes" for b in listed]
    lines += [f"{role} holds until {end}" for role, end in ends.items()]
    _say(as_json, {"bundles": bundles, "expires": ends}, "\n".join(lines))


@repository.command()
@_repository
@_json
def renew(folder: Path, as_json: bool) -> None:
    """Sign snapshot and timestamp again; a running server does so by itself.

    Example: shelfgate hub repository renew
    """
    try:
        Repository(folder).renew(always=True)
        ends = {role: str(end) for role, end in Repository(folder).expiries().items()}
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say(as_json, {"expires": ends}, f"the timestamp holds until {ends['timestamp']}")


@repository.command()
@_repository
@_keys
@click.option("--holder", "new", multiple=True, type=(str, PATH), metavar="ROLE PUB",
              help="Who holds root or targets from now on, all of them.")  # fmt: skip
@click.option("--threshold", "thresholds", multiple=True, type=(str, int), metavar="ROLE N",
              help="How many signatures of ROLE it takes; 2.")  # fmt: skip
@click.option("--online", type=PATH, help="A new online key.")
@_json
def rotate(folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
           new: Sequence[tuple[str, Path]], thresholds: Sequence[tuple[str, int]],
           online: Path | None, as_json: bool) -> None:  # fmt: skip
    """Hand roles to other keys; signed by enough of the old root's keys and of the new one's.

    Example: shelfgate hub repository rotate --key root-1.pem --key root-2.pem
    --key targets-4.pem --key targets-5.pem --holder targets targets-4.pub
    --holder targets targets-5.pub
    """
    by_role: dict[str, list[Key]] = {}
    try:
        for role, path in new:
            if role not in ("root", "targets"):
                raise BadInput(f"--holder {role!r}: root or targets")
            by_role.setdefault(role, []).append(load_public(path))
        wanted = dict(thresholds)
        changes = {r: Holders(tuple(k), wanted.get(r, 2)) for r, k in by_role.items()}
        signers = _signers(keys, passphrase_file)
        version = Repository(folder).rotate(changes, signers, online)
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say(as_json, {"root": version}, f"root {version} is published")


@repository.command()
@_repository
@broker_options
@click.option("--name", default="1", show_default=True, help="This server's own name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object once it runs.")
def serve(folder: Path, broker: BrokerLine, name: str, as_json: bool) -> None:
    """Give devices the blocks they ask for, until interrupted.

    Example: shelfgate hub repository serve --broker-port 1883
    """
    if not is_name(name):
        raise BadInput(f"--name {name!r}: letters, digits and . _ : @ ~ - only")
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with giving_out(folder, broker, name):
        _say(as_json, {"repository": str(folder)}, f"giving out {folder}")
        stop.wait()


@click.command()
@click.argument("source", metavar="DIR", type=PATH)
@_repository
@_keys
@click.option("--to", multiple=True, metavar="SITE/DEVICE", help="Tell these devices to run it.")
@click.option("--database", envvar=DATABASE_VARIABLE, metavar="URL",
              help="Make it known to this hub, for rollouts.")  # fmt: skip
@broker_options
@_json
def push(source: Path, folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
         to: Sequence[str], database: str | None, broker: BrokerLine,
         as_json: bool) -> None:  # fmt: skip
    """Verify the bundle in DIR, sign it and publish it once enough have signed.

    Example: shelfgate hub bundle push build/bundle --key targets-1.pem --key targets-2.pem
    """
    devices = [address_of(one) for one in to]
    try:
        found = load_bundle(source)
        pending = Repository(folder).push(found, _signers(keys, passphrase_file))
    except (BundleError, TrustError) as error:
        raise BadInput(str(error)) from error
    if database and pending.missing == 0:
        _register(database, found)
    if devices and pending.missing == 0:
        _tell(broker, devices, found.bundle_id, found.version)
    about = {"bundle": found.bundle_id, "version": found.version, "digest": found.digest}
    _say_pending(as_json, pending, about)


@click.command("sign")
@_repository
@_keys
@_json
def sign_pending(folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
                 as_json: bool) -> None:  # fmt: skip
    """Add a signature to what others have pushed; publishes once they are enough.

    Example: shelfgate hub bundle sign --key targets-2.pem
    """
    try:
        pending = Repository(folder).sign_pending(_signers(keys, passphrase_file))
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say_pending(as_json, pending, {})


@click.command("renew")
@_repository
@_keys
@_json
def renew_bundles(folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
                  as_json: bool) -> None:  # fmt: skip
    """Sign the list of bundles again before it expires, as it is.

    Example: shelfgate hub bundle renew --key targets-1.pem --key targets-2.pem
    """
    try:
        pending = Repository(folder).sign_again(_signers(keys, passphrase_file))
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say_pending(as_json, pending, {})


@click.command("unpublish")
@click.argument("name")
@click.argument("version", type=int)
@_repository
@_keys
@_json
def unpublish(name: str, version: int, folder: Path, keys: Sequence[Path],
             passphrase_file: Path | None, as_json: bool) -> None:  # fmt: skip
    """Take a bundle out of the repository: no device installs it any more.

    Example: shelfgate hub bundle unpublish default 3 --key targets-1.pem --key targets-2.pem
    """
    try:
        pending = Repository(folder).withdraw(name, version, _signers(keys, passphrase_file))
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say_pending(as_json, pending, {"bundle": name, "version": version})


@click.command("assign")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--to", multiple=True, required=True, metavar="SITE/DEVICE", help="Which devices.")
@broker_options
@_json
def assign_bundle(name: str, version: int, to: Sequence[str], broker: BrokerLine,
                  as_json: bool) -> None:  # fmt: skip
    """Tell devices which bundle to run; `packaged 0` is the one that came with the package.

    Example: shelfgate hub bundle assign drinks 3 --to store-1/box-1 --to store-1/box-2
    """
    devices = [address_of(one) for one in to]
    revision = _tell(broker, devices, name, version)
    told = {"bundle": name, "version": version, "revision": revision, "devices": list(to)}
    _say(as_json, told, f"{len(devices)} devices are told to run {name} {version}")


@click.command()
@broker_options
@_json
def status(broker: BrokerLine, as_json: bool) -> None:
    """Say what every device runs, and why it refused or took back a bundle.

    Example: shelfgate hub bundle status --json
    """
    try:
        found = reported(broker)
    except BrokerSilent as error:
        raise click.ClickException(str(error)) from error
    rows = [
        {"site": a.site, "device": a.device, "bundle": r.bundle, "state": r.state,
         "failed_bundle": r.failed_bundle, "detail": r.detail}
        for a, r in sorted(found.items())
    ]  # fmt: skip
    lines = [
        f"{row['site']}/{row['device']}  {row['bundle']}  {row['state']} "
        f"{row['failed_bundle'] or ''}  {row['detail']}".rstrip()
        for row in rows
    ]
    _say(as_json, {"devices": rows}, "\n".join(lines))


EXTRA = (push, sign_pending, renew_bundles, unpublish, assign_bundle, status)
"""What joins the hub's `bundle` commands."""


def _register(database: str, found: Bundle) -> None:
    """Make a published bundle known to the hub, so that rollouts can give it."""
    size = sum(path.stat().st_size for path in found.path.rglob("*") if path.is_file())
    try:
        Bundles(opened(database)).register(
            me(), f"{found.bundle_id} {found.version}", digest=found.digest, size=size
        )
    except FleetError as error:
        raise BadInput(str(error)) from error


def _tell(broker: BrokerLine, devices: Sequence[Address], name: str, version: int) -> int:
    if not is_name(name):
        raise BadInput(f"bundle {name!r}: letters, digits and . _ : @ ~ - only")
    try:
        return assign(broker, devices, name, version).version
    except MessageError as error:
        raise BadInput(str(error)) from error
    except BrokerSilent as error:
        raise click.ClickException(str(error)) from error


def _signers(paths: Sequence[Path], passphrase_file: Path | None) -> list[Signer]:
    passphrase = _passphrase(passphrase_file)
    return [load_signer(path, passphrase) for path in paths]


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if not lines or not lines[0]:
        raise BadInput(f"{path}: no passphrase in its first line")
    return lines[0]


def _say_pending(as_json: bool, pending: Pending, about: dict[str, Any]) -> None:
    told = {**about, "targets": pending.version, "missing": pending.missing}
    if pending.missing:
        text = (
            f"{pending.missing} of {pending.threshold} signatures are missing: "
            "run `shelfgate hub bundle sign --key ...` with another key"
        )
    else:
        text = f"published as targets {pending.version}"
    _say(as_json, told, text)


def _say(as_json: bool, told: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(told) if as_json else text)
    sys.stdout.flush()
