"""Events, sessions, devices, and what cannot be read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _make_events()
    op.create_table(
        "sessions",
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("session", sa.String(100), nullable=False),
        sa.Column("opened_at", sa.Float(53)),
        sa.Column("closed_at", sa.Float(53)),
        sa.PrimaryKeyConstraint("site", "device", "session", name="pk_sessions"),
    )
    op.create_index("ix_sessions_closed_at", "sessions", ["closed_at"])
    op.create_table(
        "devices",
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
        sa.Column("ledger", sa.String(100), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("software", sa.String(300), nullable=False),
        sa.Column("bundle", sa.String(300)),
        sa.PrimaryKeyConstraint("site", "device", name="pk_devices"),
    )
    op.create_table(
        "unread",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(1_000), nullable=False),
        sa.Column("reason", sa.String(1_000), nullable=False),
        sa.Column("received_at", sa.Float(53), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_unread"),
        sa.UniqueConstraint("digest", name="uq_unread"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("unread", "devices", "sessions", "events"):
        op.drop_table(table)


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False),
        sa.Column("ledger", sa.String(100), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("session", sa.String(100)),
        sa.Column("item", sa.String(200)),
        sa.Column("recorded_at", sa.Float(53), nullable=False),
        sa.Column("received_at", sa.Float(53), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("site", "device", "event_id", name="uq_events"),
    )
    op.create_index("ix_events_session", "events", ["site", "device", "session"])
    op.create_index("ix_events_item", "events", ["site", "device", "item"])
