"""What a broken round leaves behind for whoever looks for the cause: how the servers stood at that moment."""

from __future__ import annotations

from pathlib import Path

import psycopg
from redis.exceptions import RedisError

from clipgres.presence import presence_key
from clipgres.queue import QUEUE
from clipgres.redis_client import PREFIX
from tests.faults.stack import Stack

STATEMENTS = (
    """
    SELECT collection_id, status, reason, attempts, lease_token, leased_until - now() AS leased_for,
           next_attempt_at - now() AS due_in, count(*) AS jobs, min(image_id) AS one
    FROM clipgres.job WHERE status IN ('pending', 'leased') GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2
    """,
    "SELECT *, now() FROM clipgres.host",
    """
    SELECT pid, application_name, client_port, state, wait_event_type, wait_event, pg_blocking_pids(pid) AS blocked_by,
           now() - state_change AS since, left(regexp_replace(query, '\\s+', ' ', 'g'), 160) AS query
    FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY application_name, pid
    """,
    "SELECT pid, locktype, classid, objid, granted FROM pg_locks WHERE locktype = 'advisory' ORDER BY pid",
)


def write_evidence(stack: Stack, path: Path) -> None:
    """Write down what the database and the queue hold."""
    lines: list[str] = []
    try:
        with stack.admin() as connection:
            for statement in STATEMENTS:
                cursor = connection.execute(statement)
                lines += ["", " | ".join(column.name for column in cursor.description or ())]
                lines += [" | ".join(map(str, row)) for row in cursor]
    except psycopg.Error as error:
        lines.append(repr(error))
    try:
        with stack.redis() as client:
            lines += ["", *(f"{key!r}" for key in client.scan_iter(presence_key("*")))]
            lines += [f"{message!r}" for message in client.lrange(PREFIX + QUEUE, 0, -1)]
    except RedisError as error:
        lines.append(repr(error))
    path.write_text("\n".join(lines))
