"""The names of the topics: shelfgate/v1/{site}/{device}/{channel}.

The topic says whose a message is, for the broker's access list holds a device to its own topics;
payloads do not repeat it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cloud_sync.messages import MessageError, is_name

ROOT = "shelfgate/v1"


class Channel(StrEnum):
    """What a topic carries, and who sends it."""

    TELEMETRY = "telemetry"  # device: retained; birth, state, last will
    EVENTS = "events"  # device: entries of its ledger
    ACKS = "acks"  # hub: what it has committed, and what it misses
    COMMANDS = "commands"  # whoever may command the device
    REPLIES = "replies"  # device: answers, where a command names no other response topic
    # Steering a device.
    DESIRED = "desired"  # hub: retained; what the device should be
    REPORTED = "reported"  # device: retained; what it has made of it
    EVIDENCE = "evidence"  # device: pictures, behind everything else
    LOG = "log"  # device: telemetry from while its line was down

    # Bundles.
    ASKS = "asks"  # device: which blocks of which files it wants
    BLOCKS = "blocks"  # hub: blocks of files

    # Certificates.
    RENEWALS = "renewals"  # device: asks for its certificate to be renewed
    CERTIFICATES = "certificates"  # hub: the renewed one


FROM_DEVICE = frozenset(
    {
        Channel.TELEMETRY,
        Channel.EVENTS,
        Channel.REPLIES,
        Channel.REPORTED,
        Channel.EVIDENCE,
        Channel.ASKS,
        Channel.LOG,
        Channel.RENEWALS,
    }
)
"""What a device may publish; every other channel of its own it may only read."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One device of one site. Raises MessageError where either cannot be a name."""

    site: str
    device: str

    def __post_init__(self) -> None:
        for what, name in (("site", self.site), ("device", self.device)):
            if not is_name(name):
                raise MessageError(
                    f"{what} id {name!r}: 1 to 100 letters, digits and . _ : @ ~ -, "
                    "and a letter or digit first"
                )

    def __str__(self) -> str:
        """Write it as site/device."""
        return f"{self.site}/{self.device}"

    def topic(self, channel: Channel) -> str:
        """Give the name of one of the device's topics."""
        return f"{ROOT}/{self.site}/{self.device}/{channel.value}"


def parse(topic: str) -> tuple[Address, Channel]:
    """Read a topic's name. Raises MessageError where it is none of ours."""
    parts = topic.split("/")
    if "/".join(parts[:2]) != ROOT or len(parts) != 5:
        raise MessageError(f"not a topic of ours: {topic[:200]!r}")
    try:
        return Address(parts[2], parts[3]), Channel(parts[4])
    except ValueError as error:
        raise MessageError(f"not a topic of ours: {topic[:200]!r}: {error}") from error


def every_device(channel: Channel, *, shared_by: str | None = None) -> str:
    """Give the filter for a channel of all devices.

    shared_by: name of a group of subscribers, each message goes to one of them; a shared
    subscription gets no retained messages.
    """
    pattern = f"{ROOT}/+/+/{channel.value}"
    return pattern if shared_by is None else f"$share/{shared_by}/{pattern}"
