"""The SQL interface: caption space as views, texts that get their vector on demand, scores, and what a reader may do.

A migration works while the previous release still runs: add first, remove a release later.
"""

from __future__ import annotations

from migrations.sql import run_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the views of the aliases that are there, the functions, and what the roles may do with them."""
    run_file("0003_caption_views.sql")
    run_file("0003_texts.sql")
    run_file("0003_similar.sql")
    run_file("0003_roles.sql")


def downgrade() -> None:
    """Drop all of it, and let `clip_text` be what it was."""
    run_file("0003_drop.sql")
    run_file("0001_interface.sql")
