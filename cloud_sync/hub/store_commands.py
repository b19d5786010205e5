"""`shelfgate hub review|evidence|unread`: what the API does for people, at the hub's own machine.

They read the hub's database and pictures; what a device is asked goes through the broker.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import Engine

from cloud_sync.hub import answers
from cloud_sync.hub import command_options as options
from cloud_sync.hub.carts import Carts
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.evidence import EvidenceRoom
from cloud_sync.hub.fleet_answers import ReplyAnswer
from cloud_sync.hub.fleet_commands import limit_option
from cloud_sync.hub.orders import Orders
from cloud_sync.messages import MessageError
from models.bad_input import BadInput

CONNECTS_S = 10.0
DIGITS = frozenset("0123456789abcdef")


@click.group()
def review() -> None:
    """Items that wait for a person. Example: shelfgate hub review list."""


@review.command("list")
@options.database_option
@limit_option
@options.json_option
def list_reviews(database: str, limit: int, as_json: bool) -> None:
    """List items that belong to nobody, newest first.

    Those of a session stand in its cart: shelfgate hub cart --json

    Example: shelfgate hub review list --json
    """
    found = Carts(options.opened(database)).unattributed(limit)
    rows = [answers.review_answer(*one).model_dump() for one in found]
    options.show(rows, ("site", "device", "event_id", "reason", "kind", "sku"), as_json)


@review.command("settle")
@options.database_option
@options.broker_options
@click.argument("address", metavar="SITE/DEVICE")
@click.argument("item", metavar="EVENT_ID")
@click.option("--sku", help="The product it was.")
@click.option("--session", help="The session whose cart it belongs in.")
@click.option("--nothing", is_flag=True, help="There is nothing to charge: take it out.")
@options.json_option
def settle_review(
    database: str,
    broker: BrokerLine,
    address: str,
    item: str,
    sku: str | None,
    session: str | None,
    nothing: bool,
    as_json: bool,
) -> None:
    """Say what an item was and whose, or that it was nothing; its device books it.

    Exit code 1 where the device does not answer, or refuses.

    Example: shelfgate hub review settle store-1/box-1 e-17 --sku cola --session anna
    """
    if nothing is (sku is not None) or (sku is None) is not (session is None):
        raise BadInput("give --sku and --session, or --nothing")
    whose, engine = options.address_of(address), options.opened(database)

    def settle(orders: Orders) -> ReplyAnswer:
        return orders.settle(options.me(), whose, item, sku, session)

    _say(_asked(engine, broker, settle), as_json)


@click.group()
def evidence() -> None:
    """The pictures behind items. Example: shelfgate hub evidence list e-17."""


@evidence.command("list")
@options.database_option
@options.evidence_option
@click.argument("item", metavar="EVENT_ID")
@click.option("--device", "address", metavar="SITE/DEVICE", help="Where several use the same id.")
@options.json_option
def list_evidence(
    database: str, evidence: str, item: str, address: str | None, as_json: bool
) -> None:
    """List an item's pictures that are here.

    Example: shelfgate hub evidence list e-17 --device store-1/box-1 --json
    """
    whose = {} if address is None else asdict(options.address_of(address))
    room = EvidenceRoom(options.opened(database), options.picture_store(evidence))
    rows = [answers.picture_answer(one).model_dump() for one in room.of_item(item, **whose)]
    options.show(rows, ("site", "device", "item", "name", "size", "sha256"), as_json)


@evidence.command("get")
@options.evidence_option
@click.argument("sha256", metavar="SHA256")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="The file to write; SHA256.jpg here without it.")  # fmt: skip
@options.json_option
def get_evidence(evidence: str, sha256: str, out: Path | None, as_json: bool) -> None:
    """Write a picture into a file. SHA256 is as `hub evidence list` says.

    Example: shelfgate hub evidence get 9f86d081884c7d65... --out crop.jpg
    """
    if len(sha256) != 64 or not DIGITS.issuperset(sha256):
        raise BadInput(f"{sha256[:80]!r} is no SHA-256: 64 of 0-9 and a-f")
    store, where = options.picture_store(evidence), out or Path(f"{sha256}.jpg")
    try:
        data = store.read(sha256)
    except OSError as error:
        raise click.ClickException(f"the store of pictures does not answer: {error}") from error
    if data is None:
        raise BadInput("there is no such picture, or not any more")
    try:
        where.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{where}: {error.strerror}") from error
    said = {"file": str(where), "size": len(data)}
    click.echo(json.dumps(said) if as_json else f"{where}: {len(data)} bytes")


@evidence.command("ask")
@options.database_option
@options.broker_options
@click.argument("address", metavar="SITE/DEVICE")
@click.argument("item", metavar="EVENT_ID")
@options.json_option
def ask_for_evidence(
    database: str, broker: BrokerLine, address: str, item: str, as_json: bool
) -> None:
    """Ask a device for an item's pictures; they come when its line is quiet.

    Exit code 1 where the device does not answer, or has none.

    Example: shelfgate hub evidence ask store-1/box-1 e-17
    """
    whose, engine = options.address_of(address), options.opened(database)

    def ask(orders: Orders) -> ReplyAnswer:
        return orders.send_evidence(options.me(), whose, item)

    _say(_asked(engine, broker, ask), as_json)


@click.group()
def unread() -> None:
    """Messages that this hub cannot read. Example: shelfgate hub unread list."""


@unread.command("list")
@options.database_option
@click.option("--after", type=click.IntRange(0), default=0, show_default=True,
              help="Number of the last one that was seen.")  # fmt: skip
@limit_option
@options.json_option
def list_unread(database: str, after: int, limit: int, as_json: bool) -> None:
    """List what is kept because it is of a newer schema or broken, in the order it came.

    Example: shelfgate hub unread list --after 120 --json
    """
    found = Carts(options.opened(database)).unread(after, limit)
    rows = [answers.unread_answer(one).model_dump() for one in found]
    options.show(rows, ("number", "received_at", "topic", "reason", "size"), as_json)


def _asked(engine: Engine, broker: BrokerLine, ask: Callable[[Orders], ReplyAnswer]) -> ReplyAnswer:
    """Ask a device over a line of our own."""
    try:
        with _courier(broker) as courier:
            return ask(Orders(engine, courier))
    except MessageError as error:
        raise BadInput(str(error)) from error


@contextmanager
def _courier(broker: BrokerLine) -> Iterator[Courier]:
    name = f"command-{uuid.uuid4().hex[:12]}"
    courier = Courier(broker.host, broker.port, name, broker.certificates)
    courier.start()
    try:
        end = time.monotonic() + CONNECTS_S
        while not courier.is_up:
            if time.monotonic() > end:
                raise click.ClickException(
                    f"the broker at {broker.host}:{broker.port} does not answer"
                )
            time.sleep(0.05)
        yield courier
    finally:
        courier.stop()


def _say(answer: ReplyAnswer, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer.model_dump(), ensure_ascii=False))
    elif answer.ok:
        click.echo(answer.detail or "done")
    if not answer.ok:
        raise click.ClickException(answer.detail or "the device refuses")
