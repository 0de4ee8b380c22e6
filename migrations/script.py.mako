"""${message}

A migration works while the previous release still runs: add first, remove a release later. An index on a table
that can be large is built CONCURRENTLY inside `op.get_context().autocommit_block()`. A change to the `item` or
`caption_embedding` template loops over the collections.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """${message}"""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo it."""
    ${downgrades if downgrades else "pass"}
