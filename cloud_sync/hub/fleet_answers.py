"""What the API answers and takes about the fleet, its releases and its people."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud_sync.hub.audit import Role
from cloud_sync.hub.fleet import DeviceView, Group, Site
from cloud_sync.hub.fleet_tables import AuditRow, BundleRow, ShadowRow
from cloud_sync.hub.rollouts import RolloutView
from cloud_sync.hub.tokens import Token
from cloud_sync.messages import NAME_PATTERN
from cloud_sync.topics import Address

PATTERN = NAME_PATTERN.replace(r"\A", "^").replace(r"\Z", "$")

Name = Annotated[str, StringConstraints(pattern=PATTERN)]
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]*$", max_length=300)]
Ref = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f/]+$", max_length=300)]
EventId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]


class Asked(BaseModel):
    """What somebody sends; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class AddressModel(Asked):
    """One device."""

    site: Name
    device: Name


class SiteAsked(Asked):
    """A store's title."""

    title: Words


class SiteAnswer(BaseModel):
    """A store and how many of its devices have spoken."""

    site: str
    title: str
    devices: int


class LabelsAsked(Asked):
    """A device's labels, all of them."""

    labels: Annotated[list[Name], Field(max_length=50)]


class GroupAsked(Asked):
    """A group's title and devices, all of them."""

    title: Words = ""
    devices: Annotated[list[AddressModel], Field(max_length=10_000)] = []


class GroupAnswer(BaseModel):
    """A named set of devices."""

    name: str
    title: str
    devices: list[AddressModel]


class ShadowAnswer(BaseModel):
    """What a device should be and what it says it is.

    unread: payloads that it keeps because they are newer than it. unread_dropped: those that had to
    make room; evidence_dropped: items whose pictures had to go although they were needed.
    """

    desired_version: int
    desired_bundle: str | None
    reported_version: int
    reported_bundle: str | None
    state: str
    failed_bundle: str | None
    detail: str
    unread: int
    unread_dropped: int
    evidence_dropped: int
    reported_at: float | None


class FleetDevice(BaseModel):
    """A device from all sides; what it never said is null.

    missing: entries that it holds for done and the hub does not have, and has asked for.
    certificate_until: Unix seconds; null where it has none that was not revoked.
    """

    site: str
    device: str
    online: bool
    seen_at: float | None
    ledger: str | None
    waiting: int | None
    last_sequence: int | None
    software: str | None
    bundle: str | None
    missing: int
    certificate_until: float | None
    labels: list[str]
    shadow: ShadowAnswer | None


class BundleAsked(Asked):
    """A release: digest and size of its manifest where they are known."""

    note: Words = ""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    size: Annotated[int, Field(ge=0, le=2**40)] | None = None


class BundleAnswer(BaseModel):
    """A release and how many devices say that they run it."""

    ref: str
    note: str
    digest: str | None
    size: int | None
    created_at: float
    withdrawn_at: float | None
    running: int


class RolloutAsked(Asked):
    """A bundle, whom it is for, and how it goes; see shelfgate hub rollout start --help."""

    bundle: Ref
    site: Name | None = None
    label: Name | None = None
    group: Name | None = None
    stages: Annotated[list[str], Field(min_length=1, max_length=20)] = ["1", "10%", "50%", "100%"]
    success: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_failed: Annotated[float, Field(ge=0, lt=1)] = 0.02
    soak_s: Annotated[float, Field(ge=0, le=10**7)] = 600.0


class ReasonAsked(Asked):
    """Why."""

    reason: Words = ""


class RolloutAnswer(BaseModel):
    """A rollout as it stands; stage counts from 1, sizes are devices in all after each stage."""

    id: str
    bundle: str
    state: str
    reason: str
    stage: int
    stages: list[str]
    sizes: list[int]
    devices: int
    given: int
    ok: int
    failed: int
    pending: int
    created_at: float
    by: str


class RolloutDeviceAnswer(BaseModel):
    """A device of a rollout."""

    site: str
    device: str
    stage: int
    given: bool
    state: str | None
    bundle: str | None
    detail: str | None


class TokenAsked(Asked):
    """For whom, what they may do, for how many days."""

    name: Words
    role: Role
    days: Annotated[float, Field(gt=0, le=400)] = 90.0


class TokenAnswer(BaseModel):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    created_at: float
    expires_at: float
    revoked_at: float | None


class NewTokenAnswer(TokenAnswer):
    """A token as it is made: its text is shown this once."""

    token: str


class AuditAnswer(BaseModel):
    """A change; number: give it as `before` to see older ones."""

    number: int
    at: float
    who: str
    role: str
    action: str
    subject: str
    detail: dict[str, Any]


class SettleAsked(AddressModel):
    """What an item was; sku and session null: it was nothing to charge."""

    item: EventId
    sku: Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=300)] | None = None
    session: Name | None = None


class ReplyAnswer(BaseModel):
    """What the device said; answered is false where it did not in time."""

    answered: bool
    ok: bool
    detail: str


def site_answer(site: Site) -> SiteAnswer:
    """Put a site in words."""
    return SiteAnswer(site=site.site, title=site.title, devices=site.devices)


def group_answer(group: Group) -> GroupAnswer:
    """Put a group in words."""
    devices = [AddressModel(site=one.site, device=one.device) for one in group.devices]
    return GroupAnswer(name=group.name, title=group.title, devices=devices)


def fleet_device(view: DeviceView) -> FleetDevice:
    """Put a device in words."""
    said = view.telemetry
    return FleetDevice(
        site=view.address.site,
        device=view.address.device,
        online=bool(said and said.online),
        seen_at=None if said is None else said.seen_at,
        ledger=None if said is None else said.ledger,
        waiting=None if said is None else said.waiting,
        last_sequence=None if said is None else said.last_sequence,
        software=None if said is None else said.software,
        bundle=None if said is None else said.bundle,
        missing=view.missing,
        certificate_until=view.certificate_until,
        labels=list(view.labels),
        shadow=None if view.shadow is None else shadow_answer(view.shadow),
    )


def shadow_answer(row: ShadowRow) -> ShadowAnswer:
    """Put a shadow in words."""
    names = ShadowAnswer.model_fields
    return ShadowAnswer(**{name: getattr(row, name) for name in names})


def bundle_answer(row: BundleRow, running: int) -> BundleAnswer:
    """Put a release in words."""
    names = [name for name in BundleAnswer.model_fields if name != "running"]
    return BundleAnswer(running=running, **{name: getattr(row, name) for name in names})


def rollout_answer(view: RolloutView) -> RolloutAnswer:
    """Put a rollout in words."""
    return RolloutAnswer(
        id=view.id,
        bundle=view.bundle,
        state=view.state,
        reason=view.reason,
        stage=view.stage + 1,
        stages=list(view.plan.stages),
        sizes=list(view.sizes),
        devices=view.devices,
        given=view.count.given,
        ok=view.count.ok,
        failed=view.count.failed,
        pending=view.count.pending,
        created_at=view.created_at,
        by=view.by,
    )


def rollout_device(
    address: Address, stage: int, given: bool, shadow: ShadowRow | None
) -> RolloutDeviceAnswer:
    """Put a rollout's device in words."""
    return RolloutDeviceAnswer(
        site=address.site,
        device=address.device,
        stage=stage + 1,
        given=given,
        state=None if shadow is None else shadow.state,
        bundle=None if shadow is None else shadow.reported_bundle,
        detail=None if shadow is None else shadow.detail,
    )


def token_answer(token: Token) -> TokenAnswer:
    """Put a token in words."""
    names = TokenAnswer.model_fields
    return TokenAnswer(**{name: getattr(token, name) for name in names})


def audit_answer(row: AuditRow) -> AuditAnswer:
    """Put a change in words."""
    return AuditAnswer(
        number=row.id,
        at=row.at,
        who=row.who,
        role=row.role,
        action=row.action,
        subject=row.subject,
        detail=row.detail,
    )
