"""What devices had to let go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COUNTS = ("unread_dropped", "evidence_dropped")


def upgrade() -> None:
    """Add the counts; a device that never said any has let nothing go."""
    for name in COUNTS:
        op.add_column(
            "shadows", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    """Take them out."""
    for name in COUNTS:
        op.drop_column("shadows", name)
