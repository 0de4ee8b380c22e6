"""Ingest that survives: attempts and hosts on record, what a link said and when, pauses, failures to ignore.

A migration works while the previous release still runs: add first, remove a release later.
"""

from __future__ import annotations

from alembic import op

from migrations.sql import run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# Whoever writes holds one of these when it comes to the other, lists and workers in different order: no transaction of
# a migration may hold two.
TABLES = ("job", "image", "collection")
# Built beside the writers, and made anew where an earlier try was broken off and left one that is invalid.
INDEXES = (
    ("job_failed_idx", "(collection_id, reason, ignored_at) WHERE status = 'failed'"),
    ("job_ended_idx", "(updated_at) WHERE status IN ('ok', 'failed')"),
)


def upgrade() -> None:
    """Change the tables that are there, one after the other, then add new ones; all but the last may be run twice."""
    with op.get_context().autocommit_block():
        for table in TABLES:
            run_file(f"0004_{table}.sql")
        for name, definition in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS clipgres.{name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON clipgres.job {definition}")
    run_file("0004_ingest.sql")


def downgrade() -> None:
    """Take them away; what failed for a new reason is told by the nearest old one."""
    run_file("0004_drop.sql")
