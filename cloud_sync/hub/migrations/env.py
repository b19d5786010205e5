"""Run by Alembic: brings the connection that `cloud_sync.hub.database` hands over up to date."""

from __future__ import annotations

from alembic import context

from cloud_sync.hub import fleet_tables
from cloud_sync.hub.tables import Base

assert fleet_tables, "its tables belong to the metadata"

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
