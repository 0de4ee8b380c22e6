"""Hosts that are left alone for a while: what one worker finds out, all of them know at their next claim.

A row says until when. With `trips` the host failed again and again, and it is so many pauses in a row; without, it
asked for time. A reply deletes the row.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from clipgres.reasons import Reason

# After so many pauses in a row what a host has is taken for dead, unasked, until the last of them is over. A host that
# nobody ever had a reply from need not be waited for as long, nor one that refuses us for good and never gave us any
# picture. Where it gave some, a row of refusals may be one owner's of many, or be over within the hour.
GIVEN_UP_TRIPS = 5
GIVEN_UP_SOON_TRIPS = 2


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause that a host got: the `trips`-th in a row, and for how long."""

    trips: int
    seconds: float

    @property
    def is_for_good(self) -> bool:
        """Whether the host is given up."""
        return self.trips >= GIVEN_UP_TRIPS


PAUSE_SQL = text("""
    INSERT INTO clipgres.host AS h (name, paused_until, reason)
    VALUES (:name, now() + make_interval(secs => :seconds), :reason)
    ON CONFLICT (name) DO UPDATE
    SET paused_until = greatest(h.paused_until, excluded.paused_until), updated_at = now(),
        reason = CASE WHEN h.trips > 0 THEN h.reason ELSE excluded.reason END
""")
# Two workers that see the same failures count them once.
TRIP_SQL = text("""
    WITH judged AS (
        SELECT :trips >= :given_up_soon AND NOT EXISTS (
            SELECT FROM clipgres.image
            WHERE host = :name AND (first_seen_alive IS NOT NULL OR (http_status IS NOT NULL AND NOT :is_for_good))
        ) AS is_given_up
    )
    INSERT INTO clipgres.host AS h (name, paused_until, trips, reason)
    SELECT :name, now() + make_interval(secs => greatest(:seconds, CASE WHEN is_given_up THEN :given_up_s END)),
           CASE WHEN is_given_up THEN :given_up ELSE :trips END, :reason
    FROM judged
    ON CONFLICT (name) DO UPDATE
    SET paused_until = excluded.paused_until, trips = excluded.trips, reason = excluded.reason, updated_at = now()
    WHERE h.trips < excluded.trips
    RETURNING h.trips, extract(epoch FROM h.paused_until - now())::float8 AS paused_s
""")
# What a host asked for is not over because another of its replies came late.
ANSWERED_SQL = text("DELETE FROM clipgres.host WHERE name = :name AND (trips > 0 OR paused_until <= now())")
PROBE_SQL = text("""
    UPDATE clipgres.host
    SET paused_until = now() + make_interval(secs => :seconds), trips = least(trips, :most_trips), updated_at = now()
    WHERE name IN (
        SELECT name FROM clipgres.host WHERE name = ANY (:names) AND paused_until <= now()
        ORDER BY name
        FOR UPDATE SKIP LOCKED
    )
    RETURNING name
""")
# A host that nobody wanted anything of for a day begins anew.
FORGET_SQL = text("""
    DELETE FROM clipgres.host
    WHERE paused_until < now() - CASE WHEN trips > 0 THEN interval '1 day' ELSE interval '0' END
""")
RELENT_SQL = text("DELETE FROM clipgres.host WHERE name = ANY (:names)")


def pause(connection: Connection, name: str, reason: Reason, *, seconds: float) -> None:
    """Leave a host alone for as long as it asked for."""
    connection.execute(PAUSE_SQL, {"name": name, "seconds": seconds, "reason": reason.value})


def trip(
    connection: Connection, name: str, reason: Reason, *, trips: int, seconds: float, given_up_s: float = 0
) -> Pause | None:
    """Leave a host alone that failed again and again, for the `trips`-th time in a row; None if others said so before.

    One that is given up before its time is left alone for `given_up_s` at least.
    """
    parameters = {
        "name": name,
        "reason": reason.value,
        "is_for_good": not reason.is_transient,
        "trips": trips,
        "seconds": seconds,
        "given_up": GIVEN_UP_TRIPS,
        "given_up_soon": GIVEN_UP_SOON_TRIPS,
        "given_up_s": given_up_s,
    }
    row = connection.execute(TRIP_SQL, parameters).one_or_none()
    return Pause(row.trips, row.paused_s) if row else None


def answered(connection: Connection, name: str) -> None:
    """Forget that a host failed: it replied."""
    connection.execute(ANSWERED_SQL, {"name": name})


def begin_probes(connection: Connection, names: Collection[str], *, seconds: float) -> set[str]:
    """Take it upon us to try hosts whose pause is over; those that are ours are left alone by others for `seconds`.

    One that was given up is not while it is tried again.
    """
    parameters = {"names": list(names), "seconds": seconds, "most_trips": GIVEN_UP_TRIPS - 1}
    return set(connection.execute(PROBE_SQL, parameters).scalars())


def relent(connection: Connection, names: Collection[str]) -> None:
    """Try hosts anew at once: somebody asked for it."""
    connection.execute(RELENT_SQL, {"names": list(names)})


def forget_old(connection: Connection) -> None:
    """Delete the rows that say nothing any more."""
    connection.execute(FORGET_SQL)
