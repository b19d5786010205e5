"""Options and manners that the hub's commands share."""

from __future__ import annotations

import functools
import getpass
import json
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from cloud_sync.hub.audit import Role, Who
from cloud_sync.hub.database import DatabaseError, check, open_database
from cloud_sync.hub.database import migrate as migrate_database
from cloud_sync.hub.evidence import PictureStore
from cloud_sync.messages import MessageError, is_name
from cloud_sync.mqtt import Certificates
from cloud_sync.state_folder import state_folder
from cloud_sync.topics import Address
from models.bad_input import BadInput
from models.passing import cannot_start

Command = Callable[..., Any]

STATE = "shelfgate-hub"
DATABASE_VARIABLE = "SHELFGATE_HUB_DATABASE"


@dataclass(frozen=True, slots=True)
class BrokerLine:
    """Where the broker is, and how we prove to it who we are."""

    host: str
    port: int
    certificates: Certificates | None

    @property
    def arguments(self) -> list[str]:
        """The same as options, for a process that we start."""
        options = ["--broker-host", self.host, "--broker-port", str(self.port)]
        if self.certificates is not None:
            options += ["--broker-ca", str(self.certificates.ca)]
            options += ["--broker-cert", str(self.certificates.certificate)]
            options += ["--broker-key", str(self.certificates.key)]
        return options


def database_option(command: Command) -> Command:
    """Add --database."""
    return click.option(
        "--database",
        default=lambda: str(state_folder(STATE) / "hub.db"),
        show_default="hub.db in the hub's state folder",
        envvar=DATABASE_VARIABLE,
        metavar="URL",
        help="An SQLite file, or a URL such as postgresql+psycopg://user@host/hub.",
    )(command)


def own_hub_option(command: Command) -> Command:
    """Add --database, for what can be done without a hub; None where there is none here."""
    return click.option(
        "--database",
        default=_own_database,
        show_default="hub.db in the hub's state folder, where there is one",
        envvar=DATABASE_VARIABLE,
        metavar="URL",
        help="The hub whose audit log this is written to.",
    )(command)


def json_option(command: Command) -> Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def broker_options(command: Command) -> Command:
    """Add where the broker is; the command gets them as `broker`."""

    @functools.wraps(command)
    def with_broker(
        broker_host: str,
        broker_port: int,
        broker_ca: Path | None,
        broker_cert: Path | None,
        broker_key: Path | None,
        **others: Any,
    ) -> Any:
        certificates = None
        if broker_ca and broker_cert and broker_key:
            certificates = Certificates(broker_ca, broker_cert, broker_key)
            try:
                certificates.context()
            except (OSError, ssl.SSLError) as error:
                raise BadInput(f"the broker's certificates cannot be used: {error}") from error
        elif broker_ca or broker_cert or broker_key:
            raise BadInput("--broker-ca, --broker-cert and --broker-key belong together")
        return command(broker=BrokerLine(broker_host, broker_port, certificates), **others)

    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--broker-key", type=file, help="Our key for the broker."),
        click.option("--broker-cert", type=file, help="Our certificate for the broker."),
        click.option("--broker-ca", type=file, help="Who signed the broker's certificate: TLS."),
        click.option(
            "--broker-port",
            default=1883,
            show_default=True,
            type=click.IntRange(1, 65535),
            help="The broker's port.",
        ),
        click.option(
            "--broker-host", default="127.0.0.1", show_default=True, help="The broker's host."
        ),
    ):
        with_broker = option(with_broker)
    return with_broker


def evidence_option(command: Command) -> Command:
    """Add --evidence."""
    return click.option(
        "--evidence",
        default=lambda: str(state_folder(STATE) / "evidence"),
        show_default="evidence in the hub's state folder",
        metavar="FOLDER|URL",
        help="Where pictures are kept: a folder, or what fsspec knows, as s3://bucket/evidence.",
    )(command)


def picture_store(url: str) -> PictureStore:
    """Open where pictures are kept. Raises BadInput, ClickException where it may pass."""
    try:
        return PictureStore(url)
    except OSError as error:
        raise cannot_start(error, f"--evidence: {error}") from error


def opened_if_any(database: str | None) -> Engine | None:
    """Open the database of `own_hub_option`. Raises what `opened` raises."""
    return None if database is None else opened(database)


def opened(database: str, *, migrate: bool = False) -> Engine:
    """Open the database.

    Raises BadInput where it cannot be used, ClickException where it only does not answer now.
    """
    try:
        engine = open_database(database)
        if migrate:
            migrate_database(engine)
        check(engine)
    except DatabaseError as error:
        raise cannot_start(error) from error
    return engine


def hub_name(name: str) -> str:
    """Check a hub's or a worker's own name."""
    if not is_name(name):
        raise BadInput(f"--worker {name!r}: letters, digits and . _ : @ ~ - only")
    return name


def address_of(text: str) -> Address:
    """Read site/device. Raises BadInput."""
    site, _, device = text.partition("/")
    try:
        return Address(site, device)
    except MessageError as error:
        raise BadInput(f"{text!r} is no site/device: {error}") from error


def me() -> Who:
    """Whoever calls a command at the hub's own machine: he has the database, so he may."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Who(f"{name} at the command line", Role.ADMIN)


def _own_database() -> str | None:
    path = state_folder(STATE) / "hub.db"
    return str(path) if path.exists() else None


def show(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], as_json: bool, title: str = ""
) -> None:
    """Print rows: all of them as JSON, or some columns as a table."""
    found = list(rows)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table(*columns, title=title or None, title_justify="left", box=None)
    for row in found:
        table.add_row(*("" if row[one] is None else str(row[one]) for one in columns))
    Console(highlight=False, markup=False).print(table)
