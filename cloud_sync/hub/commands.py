"""`shelfgate hub`: run the hub and look after its database."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Callable
from typing import TypeVar

import click
import uvicorn

from cloud_sync.hub.app import create_app
from cloud_sync.hub.bundle_commands import bundle, keys, repository
from cloud_sync.hub.database import DatabaseError, check, open_database
from cloud_sync.hub.database import migrate as migrate_database
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.messages import is_name

F = TypeVar("F", bound=Callable[..., None])

DEFAULT_DATABASE = "state/hub.db"


class BadInput(click.ClickException):
    """What was given cannot be used: one line, exit code 2."""

    exit_code = 2


def _database(command: F) -> F:
    return click.option(
        "--database",
        default=DEFAULT_DATABASE,
        show_default=True,
        envvar="SHELFGATE_HUB_DATABASE",
        metavar="URL",
        help="An SQLite file, or a URL such as postgresql+psycopg://user@host/hub.",
    )(command)


@click.group()
def hub() -> None:
    """The hub: takes the devices' events in and answers for their carts.

    Example: shelfgate hub migrate && shelfgate hub serve --broker-port 1883
    """


@hub.command()
@_database
@click.option("--broker-host", default="127.0.0.1", show_default=True, help="The broker's host.")
@click.option("--broker-port", default=1883, show_default=True, help="The broker's port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the API listens.")
@click.option("--port", default=8090, show_default=True, help="Its port; 0 for a free one.")
@click.option("--worker", default="1", show_default=True, help="This worker's own name.")
@click.option("--migrate", is_flag=True, help="Bring the database up to date first.")
@click.option("--json", "as_json", is_flag=True, help="Print where the API is as JSON.")
def serve(
    database: str,
    broker_host: str,
    broker_port: int,
    host: str,
    port: int,
    worker: str,
    migrate: bool,
    as_json: bool,
) -> None:
    """Take events in from the broker and serve the API, until interrupted.

    Example: shelfgate hub serve --database state/hub.db --broker-port 1883 --port 8090
    """
    if not is_name(worker):
        raise BadInput(f"--worker {worker!r}: letters, digits and . _ : @ ~ - only")
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        engine = open_database(database)
        if migrate:
            migrate_database(engine)
        check(engine)
    except DatabaseError as error:
        raise BadInput(str(error)) from error
    listener = _listen(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    click.echo(json.dumps({"api": url}) if as_json else f"The hub's API is at {url}/docs")
    sys.stdout.flush()
    app = create_app(engine, Ingest(Store(engine), broker_host, broker_port, worker))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[listener])


@hub.command()
@_database
@click.option("--json", "as_json", is_flag=True, help="Print the revision as JSON.")
def migrate(database: str, as_json: bool) -> None:
    """Make the database's tables, or bring them up to date.

    Example: shelfgate hub migrate --database state/hub.db
    """
    try:
        revision = migrate_database(open_database(database))
    except DatabaseError as error:
        raise BadInput(str(error)) from error
    click.echo(json.dumps({"revision": revision}) if as_json else f"Schema {revision}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise BadInput(f"cannot listen on {host}:{port}: {error}") from error


# Bundles.
for _group in (keys, repository, bundle):
    hub.add_command(_group)
