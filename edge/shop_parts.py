"""What the storefront asks of parts that not every appliance has.

A replay has no line to a hub; a box whose bundles are brought by hand has nothing that updates
them.
"""

from __future__ import annotations

from typing import Protocol


class LinkState(Protocol):
    """How the line to the hub is: `cloud_sync.device.agent.LinkState`."""

    @property
    def up(self) -> bool:
        """Connected."""
        ...

    @property
    def problem(self) -> str | None:
        """What is wrong, for a person."""
        ...


class Link(Protocol):
    """The line to the hub: `cloud_sync.device.agent.Agent`."""

    @property
    def state(self) -> LinkState:
        """How the line is; never blocks."""
        ...


class HasProblems(Protocol):
    """A part that says what is wrong with it: `edge.retention.Retention`."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the page; empty while all is well."""
        ...


class LooksAfterCertificate(HasProblems, Protocol):
    """What renews the box's certificate: `cloud_sync.device.renewal.Renewal`."""

    @property
    def ends_at(self) -> float | None:
        """When the one in use ends, in Unix seconds; None while that is not known."""
        ...


class UpdateState(Protocol):
    """How the bundles are: `cloud_sync.device.installer.Status`."""

    @property
    def phase(self) -> str:
        """How far the wanted bundle is."""
        ...

    @property
    def bundle(self) -> str | None:
        """Its name and version, None where it wants none."""
        ...

    @property
    def reason(self) -> str:
        """Why it was refused or taken back, for a person."""
        ...

    @property
    def share(self) -> float:
        """How much of what has to be fetched is there, in [0, 1]."""
        ...


class Updates(Protocol):
    """What brings new bundles: `cloud_sync.device.installer.Installer`."""

    @property
    def status(self) -> UpdateState:
        """How the bundles are; never blocks."""
        ...
