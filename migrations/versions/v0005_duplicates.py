"""Duplicates as data: groups by URL, by bytes and by look, what a person decided on them, and placeholders.

A migration works while the previous release still runs: add first, remove a release later.
"""

from __future__ import annotations

from migrations.sql import run_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and the view by which SQL sees the groups."""
    run_file("0005_duplicates.sql")


def downgrade() -> None:
    """Take them away, with what was decided; what failed as a placeholder stays failed."""
    run_file("0005_drop.sql")
