"""The first schema: tables, the SQL interface, roles.

A migration works while the previous release still runs: add first, remove a release later.
"""

from __future__ import annotations

from alembic import op

from migrations.sql import run_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make everything; the schema `clipgres` itself is there already, since it holds Alembic's version table."""
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    run_file("0001_tables.sql")
    run_file("0001_interface.sql")
    run_file("0001_roles.sql")


def downgrade() -> None:
    """Drop everything but the extension, collections included."""
    op.execute("DROP FUNCTION public.clip_text(text, text)")
    op.execute("DROP SCHEMA collections CASCADE")
    run_file("0001_drop_tables.sql")
