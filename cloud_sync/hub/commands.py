"""`shelfgate hub`: run the hub and look after its database."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import click
import uvicorn
from sqlalchemy import Engine

from cloud_sync.hub.app import create_app
from cloud_sync.hub.database import DatabaseError, check, open_database
from cloud_sync.hub.database import migrate as migrate_database
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.hub.workers import Workers
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


def _broker(command: F) -> F:
    host = click.option(
        "--broker-host", default="127.0.0.1", show_default=True, help="The broker's host."
    )
    port = click.option("--broker-port", default=1883, show_default=True, help="The broker's port.")
    return host(port(command))


@click.group()
def hub() -> None:
    """The hub: takes the devices' events in and answers for their carts.

    Example: shelfgate hub migrate && shelfgate hub serve --broker-port 1883
    """


@hub.command()
@_database
@_broker
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the API listens.")
@click.option("--port", default=8090, show_default=True, help="Its port; 0 for a free one.")
@click.option("--worker", default="1", show_default=True, help="This hub's own name.")
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    default=1,
    show_default=True,
    help="Ingest workers: 1 in this process, more in processes of their own, 0 for the API alone.",
)
@click.option("--migrate", is_flag=True, help="Bring the database up to date first.")
@click.option("--json", "as_json", is_flag=True, help="Print where the API is as JSON.")
def serve(
    database: str,
    broker_host: str,
    broker_port: int,
    host: str,
    port: int,
    worker: str,
    workers: int,
    migrate: bool,
    as_json: bool,
) -> None:
    """Take events in from the broker and serve the API, until interrupted.

    Example: shelfgate hub serve --database state/hub.db --broker-port 1883 --port 8090
    """
    _begin(worker)
    engine = _opened(database, migrate)
    listener = _listen(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    click.echo(json.dumps({"api": url}) if as_json else f"The hub's API is at {url}/docs")
    sys.stdout.flush()
    ingest: Ingest | Workers | None = None
    if workers == 1:
        ingest = Ingest(Store(engine), broker_host, broker_port, worker)
    elif workers > 1:
        command = ["hub", "ingest", "--database", database, "--until-input-ends"]
        command += ["--broker-host", broker_host, "--broker-port", str(broker_port)]
        ingest = Workers([f"{worker}.{number + 1}" for number in range(workers)], command)
    app = create_app(engine, ingest)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[listener])


@hub.command()
@_database
@_broker
@click.option("--worker", default="1", show_default=True, help="This worker's own name.")
@click.option("--until-input-ends", is_flag=True, help="Stop when standard input does.")
def ingest(
    database: str, broker_host: str, broker_port: int, worker: str, until_input_ends: bool
) -> None:
    """Run one ingest worker without an API; as many as you like share the work.

    Prints a line of JSON whenever what keeps it from working changes.

    Example: shelfgate hub ingest --database postgresql+psycopg://hub@db/hub --worker b1
    """
    _begin(worker)
    running = Ingest(Store(_opened(database, migrate=False)), broker_host, broker_port, worker)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_input_ends:
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    running.start()
    said: object = ()
    while not stop.wait(0.2):
        if running.problem != said:
            said = running.problem
            click.echo(json.dumps({"problem": said}))
            sys.stdout.flush()
    running.stop()


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


def _begin(worker: str) -> None:
    if not is_name(worker):
        raise BadInput(f"--worker {worker!r}: letters, digits and . _ : @ ~ - only")
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _opened(database: str, migrate: bool) -> Engine:
    try:
        engine = open_database(database)
        if migrate:
            migrate_database(engine)
        check(engine)
    except DatabaseError as error:
        raise BadInput(str(error)) from error
    return engine


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise BadInput(f"cannot listen on {host}:{port}: {error}") from error
