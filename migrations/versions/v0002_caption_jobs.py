"""Caption jobs: which images want the vectors of their captions.

A migration works while the previous release still runs: add first, remove a release later.
"""

from __future__ import annotations

from alembic import op

from migrations.sql import run_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, then fill it in a transaction of its own: the foreign key locks `job` against writers."""
    run_file("0002_caption_jobs.sql")
    with op.get_context().autocommit_block():
        run_file("0002_first_caption_jobs.sql")


def downgrade() -> None:
    """Drop the table; vectors of captions stay."""
    op.execute("DROP TABLE clipgres.caption_job")
