"""`shelfgate demo`: a whole store on this machine, followed to its receipts."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cloud_sync.broker import BrokerError
from cloud_sync.logs import PlainLines, log_to_stderr
from edge.appliance import ApplianceError
from edge.capture import CaptureError
from edge.commands.demo_store import (
    DemoError,
    DemoStore,
    Scene,
    clip_scene,
    enrol,
    simulate,
    simulated_scene,
)
from edge.detect import DetectorError
from edge.ledger import LedgerError
from edge.runtime import RuntimeUnavailable
from edge.source import is_recording, is_remote, without_password
from edge.status import view
from edge.status.server import PageError
from edge.zones import ZoneError
from models.bad_input import BadInput, a_number
from models.bundle import BundleError

LOOK_S = 0.1
SYNC_S = 30.0
SECONDS = 60.0
BAD_INPUT = (CaptureError, ZoneError)
FAILURES = (
    ApplianceError,
    BrokerError,
    BundleError,
    DemoError,
    DetectorError,
    LedgerError,
    PageError,
    RuntimeUnavailable,
)


@click.command()
@click.option("--clip", metavar="FILE|URL", help="Footage to run on; without it, a drawn store.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    callback=a_number,
    help="How long; 60 for the drawn store, to its end for a clip.",
)
@click.option("--headless", is_flag=True, help="Open no browser and draw nothing live.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def demo(clip: str | None, seconds: float | None, headless: bool, as_json: bool) -> None:
    """Run a whole store on this machine: broker, hub, appliance and status page.

    Follows the carts live and ends with the receipts as the hub has them. Everything is stopped
    and removed at the end, also at Ctrl-C.

    Example: shelfgate demo --seconds 60
    """
    log_to_stderr(PlainLines(), logging.WARNING)
    signal.signal(signal.SIGTERM, _interrupt)
    say = Console(stderr=True, highlight=False)
    try:
        with tempfile.TemporaryDirectory(prefix="shelfgate-demo-") as folder:
            scene = _scene(clip, seconds, Path(folder), say)
            with DemoStore(scene, Path(folder)) as store:
                say.print(f"The page is at {store.page_url}")
                if not headless:
                    _open_browser(store.page_url)
                with _asked_to_stop() as asked:
                    _follow(store, seconds, asked, live=not headless and say.is_terminal, say=say)
                result = _result(store)
    except BAD_INPUT as error:
        raise BadInput(str(error)) from error
    except FAILURES as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        say.print("stopped; everything is gone")
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        _print_receipts(result["receipts"])
    if not result["synced"]:
        raise click.ClickException("the hub did not take everything")
    if result["failed"]:
        raise click.ClickException(f"a camera stopped: {result['failed']}")


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Give a list that fills when somebody asks us to stop.

    An interrupt in the middle of a lock's being taken would leave it taken, and the parts that wait
    for it could not be stopped.
    """
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _scene(clip: str | None, seconds: float | None, folder: Path, say: Console) -> Scene:
    if clip is not None:
        if not clip.strip():
            raise CaptureError("--clip is empty: a file, a camera or an address is expected")
        if is_recording(clip) and is_remote(clip):
            say.print(f"fetching {without_password(clip)}", markup=False)
        return clip_scene(clip)
    with _status("drawing a store", say):
        drawn = simulate(folder, seconds or SECONDS)
    with _status("learning its products", say):
        bundle = enrol(folder, drawn)
    return simulated_scene(drawn, bundle)


@contextmanager
def _status(text: str, say: Console) -> Iterator[None]:
    began = time.monotonic()
    with say.status(f"{text} …"):
        yield
    say.print(f"{text}: {time.monotonic() - began:.1f} s")


def _open_browser(url: str) -> None:
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


def _follow(
    store: DemoStore, seconds: float | None, asked: list[int], *, live: bool, say: Console
) -> None:
    """Play until the recordings end or the time is up, then let everybody out.

    Raises KeyboardInterrupt soon after somebody has asked us to stop.
    """
    end = None if seconds is None else time.monotonic() + seconds
    with Live(console=say, refresh_per_second=4, auto_refresh=live, transient=True) as screen:
        while not store.appliance.done and (end is None or time.monotonic() < end):
            store.play_gate()
            if live:
                screen.update(_carts(store.appliance.storefront.state()))
            time.sleep(LOOK_S)
            if asked:
                raise KeyboardInterrupt
    store.appliance.finish_cameras()
    store.let_all_out()


def _result(store: DemoStore) -> dict[str, Any]:
    synced = store.appliance.wait_until_synced(SYNC_S)
    state = store.appliance.storefront.state()
    failures = [worker.progress.failure for worker in store.appliance.cameras]
    return {
        "page": store.page_url,
        "hub": store.hub_url,
        "stream_s": round(store.stream_s, 2),
        "frames": sum(camera.frames for camera in state.cameras),
        "events": store.appliance.bookkeeper.booked,
        "reviews": len(state.reviews),
        "synced": synced,
        "failed": "; ".join(failure for failure in failures if failure),
        "receipts": [_named(receipt, store) for receipt in store.receipts()],
    }


def _named(receipt: dict[str, Any], store: DemoStore) -> dict[str, Any]:
    lines = [
        {**line, "name": store.appliance.storefront.name_of(line["sku"])}
        for line in receipt["lines"]
    ]
    return {**receipt, "lines": lines}


def _carts(state: view.State) -> Group:
    cameras = "   ".join(
        f"{camera.camera}: {camera.words}, {camera.frames} frames" for camera in state.cameras
    )
    link = f"hub {state.sync.link}, {state.sync.waiting} to send"
    inside = [_receipt(_plain(cart)) for cart in state.carts if cart.is_open]
    return Group(Text(f"{cameras}   {link}", style="dim"), *inside)


def _plain(cart: view.CartView) -> dict[str, Any]:
    lines = [
        {"name": line.name, "quantity": line.quantity, "amount_minor": line.amount_minor}
        for line in cart.lines
    ]
    return {
        "session": cart.session,
        "lines": lines,
        "total_minor": cart.total_minor,
        "currency": cart.currency,
        "reviews": [None] * cart.waiting,
    }


def _print_receipts(receipts: list[dict[str, Any]]) -> None:
    console = Console(highlight=False)
    console.print(f"{len(receipts)} receipt{'' if len(receipts) == 1 else 's'} at the hub:")
    for receipt in receipts:
        console.print(_receipt(receipt))


def _receipt(cart: dict[str, Any]) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(min_width=28)
    table.add_column(justify="right")
    for line in cart["lines"]:
        table.add_row(f"{line['quantity']} x", Text(line["name"]), _money(line["amount_minor"]))
    total = f"{_money(cart['total_minor'])} {cart['currency'] or ''}".strip()
    table.add_row("", Text("total", style="bold"), Text(total, style="bold"))
    waiting = len(cart["reviews"])
    note = f"{waiting} for a person to settle" if waiting else None
    return Panel.fit(table, title=Text(cart["session"]), title_align="left", subtitle=note)


def _money(minor: int) -> str:
    return f"{minor / 100:.2f}"
