"""Which certificate was renewed into which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let a certificate say which one it replaces; one is replaced once."""
    op.add_column("certificates", sa.Column("replaces", sa.String(64)))
    op.add_column("certificates", sa.Column("pem", sa.Text()))
    op.create_index("ux_certificates_replaces", "certificates", ["replaces"], unique=True)


def downgrade() -> None:
    """Forget it."""
    op.drop_index("ux_certificates_replaces", "certificates")
    for name in ("pem", "replaces"):
        op.drop_column("certificates", name)
