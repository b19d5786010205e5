"""`shelfgate hub token|site|device|group|bundle|cart|receipt|audit`.

They work on the hub's database, as whoever calls them; every change stands in the audit log.
"""

from __future__ import annotations

import json

import click

from cloud_sync.hub import answers
from cloud_sync.hub import command_options as options
from cloud_sync.hub import fleet_answers as words
from cloud_sync.hub.audit import Audit, Role
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.carts import Carts
from cloud_sync.hub.fleet import Fleet, FleetError
from cloud_sync.hub.tokens import LONGEST_DAYS, Tokens
from cloud_sync.messages import is_name
from models.bad_input import BadInput

limit_option = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most."
)


def _name(text: str) -> str:
    if not is_name(text):
        raise BadInput(f"{text!r} is no name: letters, digits and . _ : @ ~ - only")
    return text


@click.group()
def token() -> None:
    """API tokens. Example: shelfgate hub token create alice --role operator --days 30."""


@token.command("create")
@options.database_option
@click.argument("name")
@click.option("--role", type=click.Choice([one.value for one in Role]), required=True,
              help="What its holder may do.")  # fmt: skip
@click.option("--days", type=click.FloatRange(0.001, LONGEST_DAYS), default=90.0,
              show_default=True, help="How long it holds.")  # fmt: skip
@options.json_option
def create_token(database: str, name: str, role: str, days: float, as_json: bool) -> None:
    """Make a token for NAME and print it, this once.

    Example: shelfgate hub token create alice --role operator
    """
    tokens = Tokens(options.opened(database))
    made, text = tokens.create(options.me(), name[:300], Role(role), days)
    if as_json:
        click.echo(json.dumps({**words.token_answer(made).model_dump(), "token": text}))
    else:
        click.echo(text)


@token.command("list")
@options.database_option
@options.json_option
def list_tokens(database: str, as_json: bool) -> None:
    """List the tokens, without their secrets."""
    found = Tokens(options.opened(database)).all()
    rows = [words.token_answer(one).model_dump(mode="json") for one in found]
    options.show(rows, ("id", "name", "role", "expires_at", "revoked_at"), as_json)


@token.command("revoke")
@options.database_option
@click.argument("token_id", metavar="ID")
def revoke_token(database: str, token_id: str) -> None:
    """Make a token worthless. Example: shelfgate hub token revoke 3f2a9c."""
    if not Tokens(options.opened(database)).revoke(options.me(), token_id):
        raise BadInput(f"there is no token {token_id!r}, or it is revoked")


@click.group()
def site() -> None:
    """Stores. Example: shelfgate hub site put store-1 "Main street"."""


@site.command("list")
@options.database_option
@options.json_option
def list_sites(database: str, as_json: bool) -> None:
    """List the stores."""
    rows = [words.site_answer(one).model_dump() for one in Fleet(options.opened(database)).sites()]
    options.show(rows, ("site", "title", "devices"), as_json)


@site.command("put")
@options.database_option
@click.argument("name")
@click.argument("title")
def put_site(database: str, name: str, title: str) -> None:
    """Name a store."""
    Fleet(options.opened(database)).put_site(options.me(), _name(name), title[:300])


@site.command("drop")
@options.database_option
@click.argument("name")
def drop_site(database: str, name: str) -> None:
    """Forget a store's title; its devices and carts stay."""
    if not Fleet(options.opened(database)).drop_site(options.me(), name):
        raise BadInput(f"there is no site {name!r}")


@click.group()
def device() -> None:
    """Devices. Example: shelfgate hub device list --site store-1."""


@device.command("list")
@options.database_option
@click.option("--site", help="Of this store only.")
@click.option("--label", help="With this label only.")
@limit_option
@options.json_option
def list_devices(
    database: str, site: str | None, label: str | None, limit: int, as_json: bool
) -> None:
    """List the devices and what they run."""
    found = Fleet(options.opened(database)).devices(limit, 0, site, label)
    rows = [words.fleet_device(one).model_dump() for one in found]
    columns = ("site", "device", "online", "bundle", "waiting", "missing", "labels")
    options.show(rows, columns, as_json)


@device.command("label")
@options.database_option
@click.argument("address", metavar="SITE/DEVICE")
@click.argument("labels", nargs=-1)
def label_device(database: str, address: str, labels: tuple[str, ...]) -> None:
    """Give a device these labels and no others."""
    chosen = [_name(one) for one in labels]
    Fleet(options.opened(database)).label(options.me(), options.address_of(address), chosen)


@click.group()
def group() -> None:
    """Named sets of devices. Example: shelfgate hub group put pilot store-1/box-1."""


@group.command("list")
@options.database_option
@options.json_option
def list_groups(database: str, as_json: bool) -> None:
    """List the groups."""
    found = Fleet(options.opened(database)).groups()
    rows = [words.group_answer(one).model_dump() for one in found]
    options.show(rows, ("name", "title", "devices"), as_json)


@group.command("put")
@options.database_option
@click.argument("name")
@click.argument("devices", nargs=-1, metavar="[SITE/DEVICE ...]")
@click.option("--title", default="", help="What it is.")
def put_group(database: str, name: str, devices: tuple[str, ...], title: str) -> None:
    """Make a group of these devices, or make it anew."""
    members = [options.address_of(one) for one in devices]
    Fleet(options.opened(database)).put_group(options.me(), _name(name), title[:300], members)


@group.command("drop")
@options.database_option
@click.argument("name")
def drop_group(database: str, name: str) -> None:
    """Forget a group; its devices stay."""
    if not Fleet(options.opened(database)).drop_group(options.me(), name):
        raise BadInput(f"there is no group {name!r}")


@click.group()
def bundle() -> None:
    """Releases. Example: shelfgate hub bundle list."""


@bundle.command("list")
@options.database_option
@options.json_option
def list_bundles(database: str, as_json: bool) -> None:
    """List the releases and how many devices run each."""
    found = Bundles(options.opened(database)).all()
    rows = [words.bundle_answer(row, running).model_dump() for row, running in found]
    options.show(rows, ("ref", "note", "running", "withdrawn_at"), as_json)


@bundle.command("register")
@options.database_option
@click.argument("ref")
@click.option("--note", default="", help="What is new in it.")
@click.option("--digest", help="SHA-256 of its manifest.")
def register_bundle(database: str, ref: str, note: str, digest: str | None) -> None:
    """Make a release known whose files devices get elsewhere. REF is "name version".

    Example: shelfgate hub bundle register "grocery 12" --note "new fruit"
    """
    try:
        Bundles(options.opened(database)).register(options.me(), ref[:300], note[:300], digest)
    except FleetError as error:
        raise BadInput(str(error)) from error


@bundle.command("withdraw")
@options.database_option
@click.argument("ref")
def withdraw_bundle(database: str, ref: str) -> None:
    """Let no rollout give a release any more."""
    if not Bundles(options.opened(database)).withdraw(options.me(), ref):
        raise BadInput(f"there is no bundle {ref!r}, or it is withdrawn")


@click.command()
@options.database_option
@limit_option
@options.json_option
def cart(database: str, limit: int, as_json: bool) -> None:
    """List the carts of those in the stores. Example: shelfgate hub cart --json."""
    found = Carts(options.opened(database)).open(limit)
    rows = [answers.cart_answer(one).model_dump() for one in found]
    options.show(rows, ("site", "device", "session", "total_minor", "currency"), as_json)


@click.command()
@options.database_option
@limit_option
@options.json_option
def receipt(database: str, limit: int, as_json: bool) -> None:
    """List the carts of those who left. Example: shelfgate hub receipt --limit 10."""
    found = Carts(options.opened(database)).receipts(limit)
    rows = [answers.cart_answer(one).model_dump() for one in found]
    columns = ("site", "device", "session", "closed_at", "total_minor", "currency")
    options.show(rows, columns, as_json)


@click.command()
@options.database_option
@limit_option
@options.json_option
def audit(database: str, limit: int, as_json: bool) -> None:
    """List who changed what, newest first. Example: shelfgate hub audit --limit 20."""
    found = Audit(options.opened(database)).newest(limit)
    rows = [words.audit_answer(one).model_dump() for one in found]
    options.show(rows, ("number", "at", "who", "action", "subject", "detail"), as_json)
