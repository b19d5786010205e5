"""People and their tokens, sites, groups, certificates, bundles, rollouts, evidence, audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.String(100)
WORDS = sa.String(300)
DIGEST = sa.String(64)
SECONDS = sa.Float(53)
LONG = sa.BigInteger()
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DEVICE = {"site": NAME, "device": NAME}


def upgrade() -> None:
    """Make the tables."""
    _people()
    _devices()
    _releases()
    _records()


def downgrade() -> None:
    """Drop them."""
    for table in (
        *("telemetry_log", "evidence", "rollout_devices", "rollouts", "shadows", "bundles"),
        *("certificates", "enrolments", "group_members", "groups", "labels", "sites"),
        *("audit", "tokens"),
    ):
        op.drop_table(table)


def _table(
    table: str, key: tuple[str, ...], optional: tuple[str, ...] = (), /, **columns: Any
) -> None:
    """key: columns of the primary key; all columns but the optional ones must be given."""
    made = [sa.Column(one, kind, nullable=one in optional) for one, kind in columns.items()]
    op.create_table(table, *made, sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"))


def _people() -> None:
    _table(
        "tokens",
        ("id",),
        ("revoked_at",),
        **{"id": NAME, "name": NAME, "role": sa.String(20), "digest": DIGEST},
        **dict.fromkeys(("created_at", "expires_at", "revoked_at"), SECONDS),
    )
    op.create_table(
        "audit",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", SECONDS, nullable=False),
        sa.Column("who", WORDS, nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )


def _devices() -> None:
    _table("sites", ("site",), **{"site": NAME, "title": WORDS, "created_at": SECONDS})
    _table("labels", ("site", "device", "label"), **DEVICE, **{"label": NAME})
    op.create_index("ix_labels_label", "labels", ["label"])
    _table("groups", ("name",), **{"name": NAME, "title": WORDS})
    _table("group_members", ("name", "site", "device"), **{"name": NAME}, **DEVICE)
    _table(
        "enrolments",
        ("id",),
        ("used_at",),
        **{"id": NAME},
        **DEVICE,
        **{"digest": DIGEST, "expires_at": SECONDS, "used_at": SECONDS},
    )
    _table(
        "certificates",
        ("serial",),
        ("revoked_at",),
        **{"serial": DIGEST},
        **DEVICE,
        **{"expires_at": SECONDS, "revoked_at": SECONDS},
    )
    op.create_index("ix_certificates_device", "certificates", ["site", "device"])


def _releases() -> None:
    _table(
        "bundles",
        ("ref",),
        ("digest", "size", "withdrawn_at"),
        **{"ref": WORDS, "note": WORDS, "digest": DIGEST, "size": LONG},
        **{"created_at": SECONDS, "withdrawn_at": SECONDS},
    )
    _table(
        "shadows",
        ("site", "device"),
        ("desired_bundle", "reported_bundle", "failed_bundle", "reported_at"),
        **DEVICE,
        **{"desired_version": LONG, "desired_bundle": WORDS, "sent_version": LONG},
        **{"reported_version": LONG, "reported_bundle": WORDS, "state": sa.String(20)},
        **{"failed_bundle": WORDS, "detail": sa.String(2_000), "unread": LONG},
        **{"reported_at": SECONDS},
    )
    _table(
        "rollouts",
        ("id",),
        **{"id": NAME, "bundle": WORDS, "plan": sa.JSON(), "state": sa.String(20)},
        **{"reason": sa.String(2_000), "stage": sa.Integer(), "created_at": SECONDS},
        **{"stage_at": SECONDS, "by": WORDS},
    )
    _table(
        "rollout_devices",
        ("rollout", "site", "device"),
        ("before",),
        **{"rollout": NAME},
        **DEVICE,
        **{"stage": sa.Integer(), "before": WORDS, "given": sa.Boolean()},
    )
    op.create_index("ix_rollout_devices_device", "rollout_devices", ["site", "device"])


def _records() -> None:
    _table(
        "evidence",
        ("site", "device", "item", "name"),
        **DEVICE,
        **{"item": sa.String(200), "name": WORDS, "sha256": DIGEST, "size": LONG},
        **{"received_at": SECONDS},
    )
    op.create_index("ix_evidence_sha256", "evidence", ["sha256"])
    _table(
        "telemetry_log",
        ("site", "device", "at"),
        **DEVICE,
        **{"at": SECONDS, "waiting": LONG, "last_sequence": LONG, "problem": sa.Text()},
    )
