"""`shelfgate hub bundle push` and its like: sign and publish bundles, tell devices to run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from securesystemslib.signer import Signer
from sqlalchemy import Engine

from cloud_sync.hub.assign import BrokerSilent, assign, reported
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.changes import Changes
from cloud_sync.hub.command_options import (
    BrokerLine,
    address_of,
    broker_options,
    me,
    opened_if_any,
    own_hub_option,
)
from cloud_sync.hub.fleet import FleetError
from cloud_sync.hub.repository import Pending, Repository
from cloud_sync.hub.signing_options import (
    PATH,
    json_option,
    key_ids,
    key_options,
    past_option,
    repository_option,
    say,
    signers_of,
)
from cloud_sync.messages import Desired, MessageError, is_name
from cloud_sync.topics import Address
from cloud_sync.trust_keys import TrustError
from models.bad_input import BadInput
from models.bundle import Bundle, BundleError, load_bundle


@click.command()
@click.argument("source", metavar="DIR", type=PATH)
@repository_option
@key_options
@click.option("--to", multiple=True, metavar="SITE/DEVICE", help="Tell these devices to run it.")
@own_hub_option
@broker_options
@json_option
def push(source: Path, folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
         to: Sequence[str], database: str | None, broker: BrokerLine,
         as_json: bool) -> None:  # fmt: skip
    """Verify the bundle in DIR, sign it and publish it once enough have signed.

    The hub of --database learns of it, for rollouts.

    Example: shelfgate hub bundle push build/bundle --key targets-1.pem --key targets-2.pem
    """
    devices = [address_of(one) for one in to]
    engine = opened_if_any(database)
    try:
        found = load_bundle(source)
        signers = signers_of(keys, passphrase_file)
        pending = Repository(folder).push(found, signers)
        _note(Changes(me(), engine, folder), "bundle.push", f"{found.bundle_id} {found.version}",
              pending, signers, digest=found.digest)  # fmt: skip
    except (BundleError, TrustError) as error:
        raise BadInput(str(error)) from error
    if engine is not None and pending.missing == 0:
        _register(engine, found)
    if devices and pending.missing == 0:
        _tell(broker, devices, found.bundle_id, found.version, Changes(me(), engine))
    about = {"bundle": found.bundle_id, "version": found.version, "digest": found.digest}
    _say_pending(as_json, pending, about)


@click.command("sign")
@repository_option
@key_options
@own_hub_option
@json_option
def sign_pending(folder: Path, keys: Sequence[Path], passphrase_file: Path | None,
                 database: str | None, as_json: bool) -> None:  # fmt: skip
    """Add a signature to what others have pushed; publishes once they are enough.

    Example: shelfgate hub bundle sign --key targets-2.pem
    """
    changes = Changes(me(), opened_if_any(database), folder)
    try:
        signers = signers_of(keys, passphrase_file)
        pending = Repository(folder).sign_pending(signers)
        _note(changes, "bundle.sign", f"targets {pending.version}", pending, signers)
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say_pending(as_json, pending, {})


@click.command("renew")
@repository_option
@key_options
@past_option
@own_hub_option
@json_option
def renew_bundles(folder: Path, keys: Sequence[Path], passphrase_file: Path | None, past: int,
                  database: str | None, as_json: bool) -> None:  # fmt: skip
    """Sign the list of bundles again, as it is: before it expires, or after a restored backup.

    Example: shelfgate hub bundle renew --key targets-1.pem --key targets-2.pem
    """
    changes = Changes(me(), opened_if_any(database), folder)
    try:
        signers = signers_of(keys, passphrase_file)
        pending = Repository(folder).sign_again(signers, past)
        _note(changes, "bundle.renew", f"targets {pending.version}", pending, signers)
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say_pending(as_json, pending, {})


@click.command("unpublish")
@click.argument("name")
@click.argument("version", type=int)
@repository_option
@key_options
@own_hub_option
@json_option
def unpublish(name: str, version: int, folder: Path, keys: Sequence[Path],
              passphrase_file: Path | None, database: str | None,
              as_json: bool) -> None:  # fmt: skip
    """Take a bundle out of the repository: no device installs it any more.

    Example: shelfgate hub bundle unpublish default 3 --key targets-1.pem --key targets-2.pem
    """
    changes = Changes(me(), opened_if_any(database), folder)
    try:
        signers = signers_of(keys, passphrase_file)
        pending = Repository(folder).withdraw(name, version, signers)
        _note(changes, "bundle.unpublish", f"{name} {version}", pending, signers)
    except TrustError as error:
        raise BadInput(str(error)) from error
    _say_pending(as_json, pending, {"bundle": name, "version": version})


@click.command("assign")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--to", multiple=True, required=True, metavar="SITE/DEVICE", help="Which devices.")
@own_hub_option
@broker_options
@json_option
def assign_bundle(name: str, version: int, to: Sequence[str], database: str | None,
                  broker: BrokerLine, as_json: bool) -> None:  # fmt: skip
    """Tell devices which bundle to run; `packaged 0` is the one that came with the package.

    Example: shelfgate hub bundle assign drinks 3 --to store-1/box-1 --to store-1/box-2
    """
    devices = [address_of(one) for one in to]
    changes = Changes(me(), opened_if_any(database))
    revision = _tell(broker, devices, name, version, changes)
    told = {"bundle": name, "version": version, "revision": revision, "devices": list(to)}
    say(as_json, told, f"{len(devices)} devices are told to run {name} {version}")


@click.command()
@broker_options
@json_option
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
    say(as_json, {"devices": rows}, "\n".join(lines))


EXTRA = (push, sign_pending, renew_bundles, unpublish, assign_bundle, status)
"""What joins the hub's `bundle` commands."""


def _register(engine: Engine, found: Bundle) -> None:
    """Make a published bundle known to the hub, so that rollouts can give it."""
    size = sum(path.stat().st_size for path in found.path.rglob("*") if path.is_file())
    try:
        Bundles(engine).register(
            me(), f"{found.bundle_id} {found.version}", digest=found.digest, size=size
        )
    except FleetError as error:
        raise BadInput(str(error)) from error


def _note(changes: Changes, action: str, subject: str, pending: Pending,
          signers: Sequence[Signer], **detail: Any) -> None:  # fmt: skip
    """Write down who signed what, and whether that was enough to publish it."""
    changes.write(action, subject, targets=pending.version, missing=pending.missing,
                  keys=key_ids(signers), **detail)  # fmt: skip


def _tell(broker: BrokerLine, devices: Sequence[Address], name: str, version: int,
          changes: Changes) -> int:  # fmt: skip
    if not is_name(name):
        raise BadInput(f"bundle {name!r}: letters, digits and . _ : @ ~ - only")

    def written_down(desired: Desired) -> None:
        told = [str(one) for one in devices]
        changes.write("bundle.assign", f"{name} {version}", devices=told, revision=desired.version)

    try:
        return assign(broker, devices, name, version, written_down).version
    except MessageError as error:
        raise BadInput(str(error)) from error
    except BrokerSilent as error:
        raise click.ClickException(str(error)) from error


def _say_pending(as_json: bool, pending: Pending, about: dict[str, Any]) -> None:
    told = {**about, "targets": pending.version, "missing": pending.missing}
    if pending.missing:
        text = (
            f"{pending.missing} of {pending.threshold} signatures are missing: "
            "run `shelfgate hub bundle sign --key ...` with another key"
        )
    else:
        text = f"published as targets {pending.version}"
    say(as_json, told, text)
