"""Ends the sessions of readers whose statement or transaction has lasted too long, whatever they set for themselves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Event

from sqlalchemy import Connection, Engine, text

from clipgres.database import driver_connection, transaction
from clipgres.errors import ClipgresError
from clipgres.plain_text import printable
from clipgres.rights import READERS_SQL, watching
from worker.outage import Outage

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0

# By the login, which SET ROLE does not change. A procedure may begin transaction after transaction in one statement,
# and a transaction may hold any number of statements: so both are looked at.
END_SQL = text(f"""
    WITH reader AS ({READERS_SQL}),
    overdue AS MATERIALIZED (
        SELECT a.pid, a.usename, left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80) AS query
        FROM pg_stat_activity a
        JOIN reader r ON r.oid = a.usesysid
        WHERE a.datname = current_database()
          AND (
              a.xact_start < clock_timestamp() - make_interval(secs => :limit_s)
              OR (a.state = 'active' AND a.query_start < clock_timestamp() - make_interval(secs => :limit_s))
          )
    )
    SELECT usename, query FROM overdue WHERE pg_terminate_backend(pid)
""")  # noqa: S608 - both parts are ours


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that was ended: whose, and what it last did."""

    login: str
    query: str


def watch_readers(stopping: Event, engine: Engine, limit_s: float) -> None:
    """Look after readers until told to stop, every few seconds."""
    outage = Outage(log, "the database, for looking after readers,")
    blindness = Outage(log, "looking after readers")
    while not stopping.is_set():
        try:
            with transaction(engine) as connection:
                for ended in end_overdue(connection, limit_s):
                    log.warning("reader %s took over %g s and was disconnected: %s", ended.login, limit_s, ended.query)
                troubles = watching(driver_connection(connection))
            outage.end()
            if troubles:
                blindness.begin(f"{troubles[0].what}: {troubles[0].statement}")
            else:
                blindness.end()
        except ClipgresError as error:
            outage.begin(error)
        stopping.wait(LOOK_EVERY_S)


def end_overdue(connection: Connection, limit_s: float) -> list[Ended]:
    """End each session of a reader of this database that is older than the limit."""
    return [Ended(row.usename, printable(row.query)) for row in connection.execute(END_SQL, {"limit_s": limit_s})]
