"""How far each ledger is here, and what makes a gap quick to find."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PLACE = ("site", "device", "ledger", "sequence")


def upgrade() -> None:
    """Add the marks, and the place of what cannot be read."""
    op.create_index("ix_events_sequence", "events", list(PLACE))
    op.create_table(
        "ledgers",
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("ledger", sa.String(100), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "device", "ledger", name="pk_ledgers"),
    )
    op.add_column("devices", sa.Column("connection", sa.String(100)))
    for name in PLACE[:3]:
        op.add_column("unread", sa.Column(name, sa.String(100)))
    op.add_column("unread", sa.Column("sequence", sa.BigInteger()))
    op.create_index("ix_unread_sequence", "unread", list(PLACE))


def downgrade() -> None:
    """Take them out."""
    op.drop_index("ix_unread_sequence", "unread")
    for name in PLACE:
        op.drop_column("unread", name)
    op.drop_column("devices", "connection")
    op.drop_table("ledgers")
    op.drop_index("ix_events_sequence", "events")
