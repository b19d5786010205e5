"""`shelfgate hub`: run the hub, look after its database, and steer the fleet."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import click
import uvicorn
from sqlalchemy import Engine

from cloud_sync.hub import command_options as options
from cloud_sync.hub.app import create_app
from cloud_sync.hub.bundle_commands import EXTRA
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.database import DatabaseError, open_database
from cloud_sync.hub.database import migrate as migrate_database
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.hub.evidence import EvidenceRoom
from cloud_sync.hub.fleet_commands import (
    audit,
    bundle,
    cart,
    device,
    group,
    receipt,
    site,
    token,
)
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.logs import set_up_logs
from cloud_sync.hub.provision_commands import enrolments_of, provision
from cloud_sync.hub.renewals import RenewalDesk, Renewals
from cloud_sync.hub.repository_commands import giving_out, keys
from cloud_sync.hub.repository_commands import repository as repository_commands
from cloud_sync.hub.rollout_commands import rollout
from cloud_sync.hub.simulate_command import simulate_fleet
from cloud_sync.hub.store import Store
from cloud_sync.hub.store_commands import evidence as evidence_commands
from cloud_sync.hub.store_commands import review, unread
from cloud_sync.hub.workers import Workers
from models.bad_input import BadInput
from models.passing import cannot_start

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.group()
def hub() -> None:
    """The hub: takes the devices' events in, answers for their carts, steers them.

    Example: shelfgate hub migrate && shelfgate hub serve --broker-port 1883
    """


for command in (
    *(audit, bundle, cart, device, evidence_commands, group, provision),
    *(receipt, review, rollout, simulate_fleet, site, token, unread),
):
    hub.add_command(command)


@hub.command()
@options.database_option
@options.broker_options
@options.evidence_option
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
@click.option("--open", "is_open", is_flag=True, help="Ask nobody for a token; loopback only.")
@click.option(
    "--evidence-days",
    default=90.0,
    show_default=True,
    help="How long pictures stay; those of open reviews stay on.",
)
@click.option("--tls-cert", type=FILE, help="The API's certificate: serve https.")
@click.option("--tls-key", type=FILE, help="The API's key.")
@click.option(
    "--authority",
    type=FOLDER,
    help="Let boxes in, and renew their certificates: folder of `provision broker`.",
)
@click.option("--repository", type=FOLDER, help="Give out the signed bundles in this folder too.")
@click.option("--json", "as_json", is_flag=True, help="Print where the API is as JSON.")
def serve(
    database: str,
    broker: BrokerLine,
    evidence: str,
    evidence_days: float,
    host: str,
    port: int,
    worker: str,
    workers: int,
    migrate: bool,
    is_open: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    authority: Path | None,
    repository: Path | None,
    as_json: bool,
) -> None:
    """Take events in from the broker and serve the API, until interrupted.

    The first token: shelfgate hub token create NAME --role admin

    Example: shelfgate hub serve --migrate --broker-port 1883 --port 8090
    """
    options.hub_name(worker)
    if is_open and host not in LOOPBACK:
        raise BadInput(f"--open lets everybody do everything: not on {host}, only on 127.0.0.1")
    if (tls_cert is None) is not (tls_key is None):
        raise BadInput("--tls-cert and --tls-key belong together")
    set_up_logs()
    engine = options.opened(database, migrate=migrate)
    enrolments = None if authority is None else enrolments_of(database, authority)
    pictures = options.picture_store(evidence)
    listener = _listen(host, port)
    url = f"http{'s' if tls_cert else ''}://{host}:{listener.getsockname()[1]}"
    click.echo(json.dumps({"api": url}) if as_json else f"The hub's API is at {url}/docs")
    sys.stdout.flush()
    courier = Courier(broker.host, broker.port, worker, broker.certificates)
    store = Store(engine, pictures=pictures)
    app = create_app(
        engine,
        _ingest(store, workers, worker, broker, database, evidence),
        courier,
        enrolments=enrolments,
        renewals=_desk(engine, enrolments, broker, worker),
        evidence=EvidenceRoom(engine, pictures),
        evidence_days=evidence_days,
        is_open=is_open,
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    with giving_out(repository, broker, worker):
        uvicorn.Server(config).run(sockets=[listener])


def _desk(
    engine: Engine, enrolments: Enrolments | None, broker: BrokerLine, name: str
) -> RenewalDesk | None:
    """Make what renews boxes' certificates, where this hub gives any."""
    if enrolments is None:
        return None
    renewals = Renewals(engine, enrolments)
    return RenewalDesk(renewals, broker.host, broker.port, name, broker.certificates)


def _ingest(
    store: Store, workers: int, name: str, broker: BrokerLine, database: str, evidence: str
) -> Ingest | Workers | None:
    """Make what takes events in: one worker in this process, several of their own, or none."""
    if workers == 0:
        return None
    if workers == 1:
        return Ingest(store, broker.host, broker.port, name, broker.certificates)
    names = [f"{name}.{number + 1}" for number in range(workers)]
    # A database's address may hold a password, and arguments are for everybody to see.
    environment = {**os.environ, options.DATABASE_VARIABLE: database}
    command = ["hub", "ingest", "--until-input-ends", "--evidence", evidence, *broker.arguments]
    return Workers(names, command, environment)


@hub.command()
@options.database_option
@options.broker_options
@options.evidence_option
@click.option("--worker", default="1", show_default=True, help="This worker's own name.")
@click.option("--until-input-ends", is_flag=True, help="Stop when standard input does.")
def ingest(
    database: str, broker: BrokerLine, evidence: str, worker: str, until_input_ends: bool
) -> None:
    """Run one ingest worker without an API; as many as you like share the work.

    Prints a line of JSON whenever what keeps it from working changes.

    Example: shelfgate hub ingest --database postgresql+psycopg://hub@db/hub --worker b1
    """
    options.hub_name(worker)
    set_up_logs()
    store = Store(options.opened(database), pictures=options.picture_store(evidence))
    running = Ingest(store, broker.host, broker.port, worker, broker.certificates)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_input_ends:
        threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    running.start()
    said: object = ()
    while not stop.wait(0.2):
        if running.problem != said:
            said = running.problem
            click.echo(json.dumps({"problem": said}))
            sys.stdout.flush()
    running.stop()


@hub.command()
@options.database_option
@options.json_option
def migrate(database: str, as_json: bool) -> None:
    """Make the database's tables, or bring them up to date.

    Example: shelfgate hub migrate --database postgresql+psycopg://hub@db/hub
    """
    try:
        revision = migrate_database(open_database(database))
    except DatabaseError as error:
        raise cannot_start(error) from error
    click.echo(json.dumps({"revision": revision}) if as_json else f"Schema {revision}")


def _wait_for_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise cannot_start(error, f"cannot listen on {host}:{port}: {error}") from error


# What the signed repository adds.
hub.add_command(keys)
hub.add_command(repository_commands)
for _command in EXTRA:
    bundle.add_command(_command)
