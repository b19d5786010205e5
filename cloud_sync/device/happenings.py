"""What the agent's threads tell each other, and what it tells the page."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_sync.messages import Ack, Desired, EvidenceAck, Resend


@dataclass(frozen=True, slots=True)
class LinkState:
    """How the line is, for the page.

    up: connected to the broker. waiting: entries that the hub does not have.
    hub_at: Unix seconds of the hub's last acknowledgement to this agent, None before the first.
    problem: what is wrong, for a person; None where nothing is.
    """

    up: bool
    waiting: int
    hub_at: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us in; it takes so many messages at a time."""

    receive_maximum: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The line is down, and why."""

    problem: str | None


@dataclass(frozen=True, slots=True)
class NobodyListens:
    """The broker has nobody to give our entries to."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command came; reply_to, correlation: where and as what its answer is wanted."""

    payload: bytes
    reply_to: str | None
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker refuses what we do."""

    problem: str


Happening = (
    Connected
    | Disconnected
    | NobodyListens
    | Asked
    | Refused
    | Ack
    | EvidenceAck
    | Resend
    | Desired
)
