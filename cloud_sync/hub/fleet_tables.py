"""The hub's tables about people, devices, bundles and rollouts; events stand in `tables`.

Written by people and by the rollouts' engine, never by devices, but for what a shadow reports.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Float, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from cloud_sync.hub.tables import EVENT_ID, NAME, NUMBER, Base

WORDS = String(300)
DIGEST = String(64)
SECONDS = Float(53)


class TokenRow(Base):
    """An API token: who it was given to and what it may do; the secret is here as a hash only."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    name: Mapped[str] = mapped_column(NAME)
    role: Mapped[str] = mapped_column(String(20))
    digest: Mapped[str] = mapped_column(DIGEST)
    created_at: Mapped[float] = mapped_column(SECONDS)
    expires_at: Mapped[float] = mapped_column(SECONDS)
    revoked_at: Mapped[float | None] = mapped_column(SECONDS)


class AuditRow(Base):
    """A change: who made it, when, to what."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(NUMBER, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(SECONDS)
    who: Mapped[str] = mapped_column(WORDS)
    role: Mapped[str] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(NAME)
    subject: Mapped[str] = mapped_column(WORDS)
    detail: Mapped[dict[str, object]] = mapped_column(JSON)


class SiteRow(Base):
    """A store."""

    __tablename__ = "sites"

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    title: Mapped[str] = mapped_column(WORDS)
    created_at: Mapped[float] = mapped_column(SECONDS)


class LabelRow(Base):
    """A word that somebody put on a device, to choose it by."""

    __tablename__ = "labels"
    __table_args__ = (Index("ix_labels_label", "label"),)

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    label: Mapped[str] = mapped_column(NAME, primary_key=True)


class GroupRow(Base):
    """A named set of devices."""

    __tablename__ = "groups"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    title: Mapped[str] = mapped_column(WORDS)


class MemberRow(Base):
    """A device of a group."""

    __tablename__ = "group_members"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)


class EnrolmentRow(Base):
    """A one-time code by which a new box gets its certificate; here as a hash only."""

    __tablename__ = "enrolments"

    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    site: Mapped[str] = mapped_column(NAME)
    device: Mapped[str] = mapped_column(NAME)
    digest: Mapped[str] = mapped_column(DIGEST)
    expires_at: Mapped[float] = mapped_column(SECONDS)
    used_at: Mapped[float | None] = mapped_column(SECONDS)


class CertificateRow(Base):
    """A certificate that was given to a device; serial in hexadecimal.

    replaces: serial of the one that it followed, pem: itself; both of a renewed one only.
    """

    __tablename__ = "certificates"
    __table_args__ = (
        Index("ix_certificates_device", "site", "device"),
        Index("ux_certificates_replaces", "replaces", unique=True),
    )

    serial: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    site: Mapped[str] = mapped_column(NAME)
    device: Mapped[str] = mapped_column(NAME)
    expires_at: Mapped[float] = mapped_column(SECONDS)
    revoked_at: Mapped[float | None] = mapped_column(SECONDS)
    replaces: Mapped[str | None] = mapped_column(DIGEST)
    pem: Mapped[str | None] = mapped_column(Text)


class BundleRow(Base):
    """A release that devices can be told to run; ref is name and version, as devices say it."""

    __tablename__ = "bundles"

    ref: Mapped[str] = mapped_column(WORDS, primary_key=True)
    note: Mapped[str] = mapped_column(WORDS)
    digest: Mapped[str | None] = mapped_column(DIGEST)
    size: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(SECONDS)
    withdrawn_at: Mapped[float | None] = mapped_column(SECONDS)


class ShadowRow(Base):
    """What a device should be and what it says it is; a version rises with every wish."""

    __tablename__ = "shadows"

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    desired_version: Mapped[int] = mapped_column(BigInteger)
    desired_bundle: Mapped[str | None] = mapped_column(WORDS)
    sent_version: Mapped[int] = mapped_column(BigInteger)
    reported_version: Mapped[int] = mapped_column(BigInteger)
    reported_bundle: Mapped[str | None] = mapped_column(WORDS)
    state: Mapped[str] = mapped_column(String(20))
    failed_bundle: Mapped[str | None] = mapped_column(WORDS)
    detail: Mapped[str] = mapped_column(String(2_000))
    unread: Mapped[int] = mapped_column(BigInteger)
    unread_dropped: Mapped[int] = mapped_column(BigInteger, server_default="0")
    evidence_dropped: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reported_at: Mapped[float | None] = mapped_column(SECONDS)


class RolloutRow(Base):
    """A bundle on its way to devices, stage by stage. plan: see `cloud_sync.hub.rollout_plan`."""

    __tablename__ = "rollouts"

    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    bundle: Mapped[str] = mapped_column(WORDS)
    plan: Mapped[dict[str, object]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(2_000))
    stage: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[float] = mapped_column(SECONDS)
    stage_at: Mapped[float] = mapped_column(SECONDS)
    by: Mapped[str] = mapped_column(WORDS)


class RolloutDeviceRow(Base):
    """A device of a rollout: its stage, and what it was to run before."""

    __tablename__ = "rollout_devices"
    __table_args__ = (Index("ix_rollout_devices_device", "site", "device"),)

    rollout: Mapped[str] = mapped_column(NAME, primary_key=True)
    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    stage: Mapped[int] = mapped_column(Integer)
    before: Mapped[str | None] = mapped_column(WORDS)
    given: Mapped[bool] = mapped_column()


class EvidenceRow(Base):
    """A picture behind an item, kept under its hash."""

    __tablename__ = "evidence"
    __table_args__ = (Index("ix_evidence_sha256", "sha256"),)

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    item: Mapped[str] = mapped_column(EVENT_ID, primary_key=True)
    name: Mapped[str] = mapped_column(WORDS, primary_key=True)
    sha256: Mapped[str] = mapped_column(DIGEST)
    size: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[float] = mapped_column(SECONDS)


class OverdueRow(Base):
    """A device's record of how it was while its line was down; telemetry as it came, by time."""

    __tablename__ = "telemetry_log"

    site: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    at: Mapped[float] = mapped_column(SECONDS, primary_key=True)
    waiting: Mapped[int] = mapped_column(BigInteger)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    problem: Mapped[str] = mapped_column(Text)
