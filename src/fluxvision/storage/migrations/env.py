"""Runs the migrations on the connection that `Database.migrate` gives; called by Alembic."""

from __future__ import annotations

from alembic import context

from fluxvision.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
