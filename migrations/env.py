"""Alembic's entry: runs on the connection that `clipgres.migrations` passes in, one transaction a migration."""

from __future__ import annotations

from alembic import context

from clipgres.schema import SCHEMA, Base
from migrations.env_filter import belongs_to_us


def run() -> None:
    """Configure Alembic and run what was asked for."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_object=belongs_to_us,
        transaction_per_migration=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
