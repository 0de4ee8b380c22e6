"""What a person does about failures: try them again, or ignore them."""

from __future__ import annotations

from sqlalchemy import Connection, text

from clipgres import hosts, jobs
from clipgres.errors import BadRequest
from clipgres.failures.choice import FailureFilter, condition
from clipgres.failures.groups import failed_condition

PUT_OFF = "j.status = 'pending' AND j.next_attempt_at > now()"

# A job that a worker or another retry holds at this moment is passed over: it is on its way already.
RETRY_SQL = """
    WITH chosen AS (
        SELECT j.collection_id, j.image_id
        FROM clipgres.job j
        WHERE ({which}) AND {condition}
        FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE clipgres.job j
    SET status = 'pending', reason = NULL, attempts = 0, next_attempt_at = now(), updated_at = now(), ignored_at = NULL
    FROM chosen c
    WHERE j.collection_id = c.collection_id AND j.image_id = c.image_id
"""

# A host that asked for time gets it, whoever asks; one that failed again and again is asked anew.
TRIPPED_SQL = """
    SELECT h.name
    FROM clipgres.host h
    WHERE h.trips > 0 AND EXISTS (
        SELECT FROM clipgres.image im
        JOIN clipgres.job j ON j.image_id = im.id
        WHERE im.host = h.name AND ({which}) AND {condition}
    )
"""

# When it failed stays what it was.
IGNORE_SQL = """
    WITH chosen AS (
        SELECT j.collection_id, j.image_id
        FROM clipgres.job j
        WHERE {failed} AND {condition}
        FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE clipgres.job j
    SET ignored_at = now()
    FROM chosen c
    WHERE j.collection_id = c.collection_id AND j.image_id = c.image_id
"""


def retry(connection: Connection, chosen: FailureFilter) -> int:
    """Make failed and put-off images due now, with all their attempts before them; returns how many.

    What is ignored stays ignored, unless the filter asks for that: then it is taken back, and nothing else. Their hosts
    are no longer left alone for failing.
    """
    failed = failed_condition(chosen)
    which = failed if chosen.ignored else f"{failed} OR {PUT_OFF}"
    where, given = condition(connection, chosen)
    tripped = connection.execute(text(TRIPPED_SQL.format(which=which, condition=where)), given).scalars().all()
    if tripped:
        hosts.relent(connection, tripped)
    retried = connection.execute(text(RETRY_SQL.format(which=which, condition=where)), given).rowcount
    jobs.announce(connection)
    return retried


def ignore(connection: Connection, chosen: FailureFilter) -> int:
    """Leave failed images out of counts, lists and retries from now on; returns how many.

    Raises:
        BadRequest: nothing narrows it down, or it asks for those that are ignored already.
    """
    if not chosen.is_narrowed:
        raise BadRequest("say what to ignore: a reason, a host, a batch or a collection")
    if chosen.ignored:
        raise BadRequest("ignored: they are ignored already; retry takes them back", "ignored")
    where, given = condition(connection, chosen)
    statement = text(IGNORE_SQL.format(failed=failed_condition(chosen), condition=where))
    return connection.execute(statement, given).rowcount
