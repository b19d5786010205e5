"""A mosquitto set up for real use: TLS, a certificate for everybody, own topics only.

Two listeners, so that the hub's can be on an inner address. Both take client ids as they come: a
box has two lines with one certificate, the hub's workers share theirs. That nobody takes another's
place is in the client ids themselves (`Certificates.client_id`).
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloud_sync.hub.authority import Authority, user_name, write_key
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.messages import is_name
from cloud_sync.topics import FROM_DEVICE, ROOT, Address, Channel

HUB = "hub"
"""The hub's name at the broker."""

CONFIGURATION = """\
# Written by `shelfgate hub provision broker`; start: mosquitto -c {folder}/mosquitto.conf
per_listener_settings true
pid_file {folder}/mosquitto.pid
persistence true
persistence_location {folder}/
autosave_interval 60
max_inflight_messages 2000
max_queued_messages 10000
max_packet_size 1048576
log_dest file {folder}/mosquitto.log
{user}

# Devices. A user is a certificate; a box has several lines with one, each with its client id.
listener {port} {address}
{tls}

# The hub.
listener {hub_port} {hub_address}
{tls}
"""

USER = re.compile(r"user CN=(?P<site>[^/]+)/(?P<device>[^/]+),serialNumber=(?P<serial>[0-9a-f]+)")

TLS = """\
cafile {ca}
crlfile {crl}
certfile {folder}/broker.pem
keyfile {folder}/broker.key
tls_version tlsv1.2
require_certificate true
use_subject_as_username true
allow_anonymous false
acl_file {folder}/acl"""


class BrokerSetup:
    """A broker's folder: its configuration, its certificate, the hub's, and who may do what."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder.absolute()
        self._authority = authority

    def make(
        self,
        hosts: Iterable[str],
        *,
        address: str = "",
        port: int = 8883,
        hub_address: str = "127.0.0.1",
        hub_port: int = 8884,
    ) -> None:
        """Write everything but the devices. hosts: names and addresses the broker is reached by."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = tuple(dict.fromkeys((*hosts, "localhost", "127.0.0.1")))
        for name, reached_by in (("broker", names), (HUB, ())):
            issued, key = self._authority.issue(name, reached_by)
            (self.folder / f"{name}.pem").write_bytes(issued.pem)
            write_key(self.folder / f"{name}.key", key)
        tls = TLS.format(
            ca=self._authority.ca_file.absolute(),
            crl=self._authority.crl_file.absolute(),
            folder=self.folder,
        )
        text = CONFIGURATION.format(
            folder=self.folder,
            address=address,
            port=port,
            hub_address=hub_address,
            hub_port=hub_port,
            tls=tls,
            user="user root" if os.geteuid() == 0 else "",
        )
        (self.folder / "mosquitto.conf").write_text(text)
        if not (self.folder / "acl").exists():
            self.let_in({}, {})

    def follow(self, enrolments: Enrolments) -> None:
        """Let in who has a certificate that holds, and nobody whose was revoked.

        What stands here and the database does not know came after the backup that it was restored
        from: such a box stays let in, and what was revoked stays revoked.
        """
        enrolments.adopt(self.users(), self._authority.revoked())
        self.let_in(enrolments.certified(), enrolments.revoked())

    def users(self) -> dict[str, Address]:
        """Give the certificates that the access list lets in: serial to device."""
        try:
            lines = (self.folder / "acl").read_text().splitlines()
        except FileNotFoundError:
            return {}
        found = filter(None, (USER.fullmatch(line) for line in lines))
        return {
            one["serial"]: Address(one["site"], one["device"])
            for one in found
            if is_name(one["site"]) and is_name(one["device"])
        }

    def let_in(self, certified: Mapping[str, Address], revoked: dict[str, float]) -> None:
        """Write who may do what, and what was revoked; tell a running broker.

        certified: serial to device; revoked: serial to Unix seconds.
        """
        part = self.folder / "acl.part"
        part.write_text(access_list(certified))
        part.chmod(0o600)
        part.replace(self.folder / "acl")
        self._authority.write_revoked(revoked)
        self._reload()

    def _reload(self) -> None:
        try:
            os.kill(int((self.folder / "mosquitto.pid").read_text()), signal.SIGHUP)
        except (OSError, ValueError):
            return  # it does not run, and reads the files when it starts


def access_list(certified: Mapping[str, Address]) -> str:
    """Give mosquitto's access list: the hub reaches everything of ours, a device its own topics.

    It goes by certificates: a line that a revoked one has open leads nowhere, also once the device
    has another.
    """
    lines = [f"user CN={HUB}", f"topic readwrite {ROOT}/#"]
    for address, serial in sorted((address, serial) for serial, address in certified.items()):
        lines += ["", f"user {user_name(address, serial)}"]
        for channel in Channel:
            verb = "write" if channel in FROM_DEVICE else "read"
            lines.append(f"topic {verb} {address.topic(channel)}")
    return "\n".join(lines) + "\n"
