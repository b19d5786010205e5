"""`shelfgate hub simulate-fleet`: so many devices with real connections, to size a hub."""

from __future__ import annotations

import hashlib
import json
import time

import click
from rich.console import Console
from rich.live import Live

from cloud_sync.hub import command_options as options
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.hub.fleet_simulator import FleetSimulator, FleetState, Manners
from cloud_sync.topics import Address

DRAIN_S = 60.0


@click.command("simulate-fleet")
@options.broker_options
@click.option("--devices", type=click.IntRange(1, 20_000), default=100, show_default=True,
              help="How many.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True,
              help="How long they book; then they wait for the hub.")  # fmt: skip
@click.option("--events-per-min", default=2.0, show_default=True, help="Bookings of a device.")
@click.option("--offline-per-h", default=2.0, show_default=True, help="Offline spells of a device.")
@click.option("--offline-s", default=30.0, show_default=True, help="How long one lasts.")
@click.option("--bad-share", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Share of the devices on which every new bundle fails.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="The same seed, the same fleet.")
@options.json_option
def simulate_fleet(
    broker: BrokerLine,
    devices: int,
    seconds: float,
    events_per_min: float,
    offline_per_h: float,
    offline_s: float,
    bad_share: float,
    seed: int,
    as_json: bool,
) -> None:
    """Let N devices book, go offline, come back in bursts, and take bundles.

    They call themselves store-1/box-1, store-1/box-2 and so on, ten to a store, and the hub books
    what they send: use a broker and a hub that are there for tests.

    Without --broker-cert they have no credentials, for a broker that asks for none. Over TLS all of
    them come with the one certificate of --broker-cert, and that has to be the hub's (hub.pem of
    `hub provision broker`) at the hub's port: it may speak for every device, while a box's own
    reaches that box's topics only. No certificate is made for a simulated device, and none is
    revoked or renewed.

    Exit code 1 where the hub does not have everything a minute after the last booking.

    Example: shelfgate hub simulate-fleet --devices 200 --seconds 60 --broker-port 1883

    \b
    With certificates: shelfgate hub simulate-fleet --devices 200 --broker-port 8884
      --broker-ca state/broker/ca.pem --broker-cert state/broker/hub.pem
      --broker-key state/broker/hub.key
    """  # noqa: D301, \b is click's

    def is_bad(address: Address, bundle: str) -> bool:
        lot = hashlib.sha256(f"{seed}/{address}".encode()).digest()
        return lot[0] / 256 < bad_share

    manners = Manners(events_per_min, 0.05, offline_per_h, offline_s)
    fleet = FleetSimulator(
        devices,
        broker.host,
        broker.port,
        manners,
        is_bad=is_bad,
        seed=seed,
        certificates=broker.certificates,
    )
    state, drained_s = _played(fleet, seconds)
    result = {
        "devices": state.devices,
        "booked": state.booked,
        "waiting": state.waiting,
        "drained_s": round(drained_s, 1),
        "ran": {bundle: len(devices) for bundle, devices in fleet.ran.items()},
    }
    click.echo(json.dumps(result) if as_json else _words(state))
    if state.waiting:
        raise click.ClickException(f"{state.waiting} entries were not acknowledged")


def _played(fleet: FleetSimulator, seconds: float) -> tuple[FleetState, float]:
    """Let a fleet book for so long; give how it was then, and how long the hub was waited for."""
    fleet.start()
    begun = time.monotonic()
    console = Console(stderr=True, highlight=False)
    with Live(console=console, refresh_per_second=2, transient=True) as screen:
        while time.monotonic() < begun + seconds:
            screen.update(_words(fleet.state))
            time.sleep(0.5)
        fleet.book_no_more()
        end = time.monotonic() + DRAIN_S
        while fleet.state.waiting and time.monotonic() < end:
            screen.update(_words(fleet.state))
            time.sleep(0.2)
    state, drained_s = fleet.state, time.monotonic() - begun - seconds
    fleet.stop()
    return state, drained_s


def _words(state: FleetState) -> str:
    return (
        f"{state.up} of {state.devices} devices connected, {state.booked} entries booked, "
        f"{state.waiting} not at the hub yet"
    )
