"""The SQL of migrations, one file a subject, named by the revision that runs it."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run_file(name: str) -> None:
    """Run a whole SQL file of this folder on the migration's connection, many statements at once."""
    sql = Path(__file__).with_name(name).read_text(encoding="utf-8")
    # The driver's own cursor: without parameters it takes several statements, and a colon or % is only a character.
    op.get_bind().connection.cursor().execute(sql)
