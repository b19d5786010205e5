"""`shelfgate hub provision`: the broker's set-up, and who is let in."""

from __future__ import annotations

import json
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.hub import command_options as options
from cloud_sync.hub.authority import CERTIFICATE_DAYS, Authority, AuthorityError, write_key
from cloud_sync.hub.broker_setup import BrokerSetup
from cloud_sync.hub.enrolments import Enrolments
from models.bad_input import BadInput

folder_type = click.Path(path_type=Path, file_okay=False)
folder_option = click.option(
    "--folder", type=folder_type, default=Path("state/broker"), show_default=True,
    help="The authority's and the broker's folder.",
)  # fmt: skip


def enrolments_of(database: str, folder: Path) -> Enrolments:
    """Put together who is let in at the broker of a folder. Raises BadInput."""
    try:
        authority = Authority(folder)
    except AuthorityError as error:
        raise BadInput(str(error)) from error
    engine = options.opened(database)
    setup = BrokerSetup(folder, authority)
    enrolments = Enrolments(engine, authority, lambda: setup.follow(enrolments))
    return enrolments


@click.group()
def provision() -> None:
    """Set a broker up with TLS, and let devices in.

    Example: shelfgate hub provision broker --host mqtt.example.com
    """


@provision.command()
@folder_option
@click.option("--host", "hosts", multiple=True, required=True,
              help="A name or address the broker is reached by; repeat it.")  # fmt: skip
@click.option("--port", default=8883, show_default=True, help="For devices.")
@click.option("--hub-port", default=8884, show_default=True, help="For the hub.")
@click.option("--hub-address", default="127.0.0.1", show_default=True,
              help="Where the hub's port listens: where no device comes from.")  # fmt: skip
@options.json_option
def broker(
    folder: Path, hosts: tuple[str, ...], port: int, hub_port: int, hub_address: str, as_json: bool
) -> None:
    """Write mosquitto's configuration, an authority and certificates for broker and hub.

    Your own authority: put its ca.pem and ca.key (elliptic curve) into the folder first.

    Example: shelfgate hub provision broker --host mqtt.example.com --folder /etc/shelfgate/broker
    """
    try:
        authority = Authority.make(folder)
        setup = BrokerSetup(folder, authority)
        setup.make(hosts, port=port, hub_port=hub_port, hub_address=hub_address)
    except (AuthorityError, OSError, ValueError) as error:
        raise BadInput(str(error)) from error
    if as_json:
        click.echo(json.dumps({"configuration": str(setup.folder / "mosquitto.conf")}))
        return
    where = setup.folder
    click.echo(f"broker: mosquitto -c {where}/mosquitto.conf")
    click.echo(
        f"hub:    shelfgate hub serve --broker-port {hub_port} --broker-ca {where}/ca.pem "
        f"--broker-cert {where}/hub.pem --broker-key {where}/hub.key --authority {where}"
    )


@provision.command()
@options.database_option
@folder_option
@click.argument("address", metavar="SITE/DEVICE")
@click.option("--out", type=folder_type,
              help="Write key and certificate here, instead of giving a code.")  # fmt: skip
@click.option("--hours", default=24.0, show_default=True, help="How long the code is good.")
@click.option("--days", default=float(CERTIFICATE_DAYS), show_default=True,
              help="How long a certificate in --out holds.")  # fmt: skip
@options.json_option
def device(
    database: str,
    folder: Path,
    address: str,
    out: Path | None,
    hours: float,
    days: float,
    as_json: bool,
) -> None:
    """Let a device in: print a one-time code for `shelfgate enrol`, or write its certificate.

    Example: shelfgate hub provision device store-1/box-1
    """
    enrolments = enrolments_of(database, folder)
    whose = options.address_of(address)
    if out is None:
        code = enrolments.code(options.me(), whose, hours)
        click.echo(json.dumps({"code": code}) if as_json else code)
        return
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
    )
    pem = request.public_bytes(serialization.Encoding.PEM)
    issued = enrolments.certify(options.me(), whose, pem, days)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_key(out / "device.key", key)
        (out / "device.pem").write_bytes(issued.pem)
        (out / "ca.pem").write_bytes(enrolments.authority.ca_pem)
    except OSError as error:
        raise BadInput(f"{out}: {error.strerror}") from error
    click.echo(json.dumps({"folder": str(out)}) if as_json else f"certificate in {out}")


@provision.command()
@options.database_option
@folder_option
@click.argument("address", metavar="SITE/DEVICE")
def revoke(database: str, folder: Path, address: str) -> None:
    """Shut a device out. Example: shelfgate hub provision revoke store-1/box-1."""
    whose = options.address_of(address)
    count = enrolments_of(database, folder).revoke(options.me(), whose)
    click.echo(f"{count} certificates of {whose} are worthless now")
