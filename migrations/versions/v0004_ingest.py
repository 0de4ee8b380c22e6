"""Ingest that survives: attempts and hosts on record, what a link said and when, pauses, failures to ignore.

A migration works while the previous release still runs: add first, remove a release later.
"""

from __future__ import annotations

from migrations.sql import run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables, and the reasons that are new."""
    run_file("0004_ingest.sql")


def downgrade() -> None:
    """Take them away; what failed for a new reason is told by the nearest old one."""
    run_file("0004_drop.sql")
