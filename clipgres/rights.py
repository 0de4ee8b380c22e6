"""What a reader may not do, whose ground is the database itself: held there, and looked at by `clipgres doctor`.

PostgreSQL gives everyone temporary tables, large objects, advisory locks and messages in the write-ahead log. Rights on
a database are in no plain dump, and those on functions of the server are restored by superusers alone: so all of them
are seen to at each migration.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.errors import InsufficientPrivilege

READER: LiteralString = "clipgres_reader"
# They must be there when the rights are taken from everyone: a group that comes later would lack them.
PARTS: tuple[LiteralString, ...] = ("clipgres_worker", "clipgres_web")

# Kind defaults, which a session may change: rows in order and as many as asked for, and an end to what takes long.
READER_DEFAULTS = {
    "hnsw.iterative_scan": "strict_order",
    "hnsw.ef_search": "100",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "default_transaction_read_only": "on",
}

# Who logs in as a reader: by membership in the group of readers and in no other of ours.
READERS_SQL: LiteralString = """
    SELECT r.oid, r.rolname
    FROM pg_roles r
    WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, to_regrole('clipgres_reader'), 'MEMBER')
      AND NOT EXISTS (
          SELECT FROM pg_roles o
          WHERE o.rolname IN ('clipgres_owner', 'clipgres_worker', 'clipgres_web')
            AND pg_has_role(r.oid, o.oid, 'MEMBER')
      )
"""

# Other logins keep what they had: the right is theirs by name before it is no longer everyone's.
EXCESS_SQL: LiteralString = f"""
    WITH reader AS ({READERS_SQL}),
    other AS (
        SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) AS names
        FROM pg_roles r
        WHERE (r.rolcanlogin OR r.rolname IN ('clipgres_owner', 'clipgres_worker', 'clipgres_web'))
          AND NOT r.rolsuper AND r.oid NOT IN (SELECT oid FROM reader)
    ),
    functions (what, named) AS (
        VALUES ('write large objects', '^(lo_|loread|lowrite)'),
               ('hold the locks that workers and migrations take turns by', '^pg_(try_)?advisory_(xact_)?lock'),
               ('write to the log that replicas and archives copy', '^pg_logical_emit_message$')
    ),
    excess (what, privilege, object) AS (
        SELECT 'make temporary tables', 'TEMP', format('DATABASE %I', current_database())
        WHERE has_database_privilege('public', current_database(), 'TEMP')
           OR EXISTS (SELECT FROM reader r WHERE has_database_privilege(r.oid, current_database(), 'TEMP'))
        UNION ALL
        SELECT 'make tables in schema public', 'CREATE', 'SCHEMA public'
        WHERE has_schema_privilege('public', 'public', 'CREATE')
           OR EXISTS (SELECT FROM reader r WHERE has_schema_privilege(r.oid, 'public', 'CREATE'))
        UNION ALL
        SELECT f.what, 'EXECUTE', 'FUNCTION ' || string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid)
        FROM functions f
        JOIN pg_proc p ON p.proname ~ f.named
        WHERE p.pronamespace = 'pg_catalog'::regnamespace
          AND (
              has_function_privilege('public', p.oid, 'EXECUTE')
              OR EXISTS (SELECT FROM reader r WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE'))
          )
        GROUP BY f.what
    )
    SELECT 'readers may ' || what,
           format('GRANT %1$s ON %2$s TO %3$s; ', privilege, object, other.names)
           || format('REVOKE %s ON %s FROM PUBLIC', privilege, object)
           || (SELECT coalesce(string_agg(', ' || quote_ident(r.rolname), ''), '') FROM reader r)
    FROM excess, other
    WHERE to_regrole('clipgres_reader') IS NOT NULL
"""  # noqa: S608 - both parts are ours

# Without the second right it sees of others neither what they do nor since when.
WATCHING_SQL: LiteralString = f"""
    WITH reader AS ({READERS_SQL})
    SELECT format('the login %I may not end the sessions of readers: nothing bounds them', current_user),
           format('GRANT pg_signal_backend, pg_read_all_stats TO %I', current_user)
    WHERE EXISTS (SELECT FROM reader)
      AND NOT (
          pg_has_role(current_user, 'pg_signal_backend', 'USAGE')
          AND pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
      )
"""  # noqa: S608 - both parts are ours


@dataclass(frozen=True, slots=True)
class Amiss:
    """A right that is not as it should be, and the statement that mends it, for whoever may run it."""

    what: str
    statement: str


def excess(connection: psycopg.Connection[Any]) -> list[Amiss]:
    """What readers may do of which they should not."""
    return [Amiss(*row) for row in connection.execute(EXCESS_SQL)]


def watching(connection: psycopg.Connection[Any]) -> list[Amiss]:
    """Why this login cannot bound readers, if there are any."""
    return [Amiss(*row) for row in connection.execute(WATCHING_SQL)]


def withhold(connection: psycopg.Connection[Any]) -> None:
    """Take from readers what they should not have, as far as this login may; `excess` then tells what is left."""
    for right in excess(connection):
        with suppress(InsufficientPrivilege), connection.transaction():
            connection.execute(right.statement.encode())


def provide_for_readers(superuser: psycopg.Connection[Any], owner: LiteralString) -> None:
    """As a superuser, make the groups for `owner` to grant, and do for readers what the owner cannot."""
    for group in (READER, *PARTS):
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [group]).fetchone() is None:
            superuser.execute(f"SET ROLE {owner}; CREATE ROLE {group}; RESET ROLE")
    superuser.execute(f"GRANT pg_signal_backend, pg_read_all_stats TO {owner}")
    withhold(superuser)
