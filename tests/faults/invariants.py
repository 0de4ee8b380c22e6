"""The five invariants in SQL: what must hold of a round's collections at every moment, and once all has ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from clipgres.collections import Collection
from clipgres.reasons import Reason
from tests.faults.ledger import Ledger

SHOWN = 5

JOBS_SQL = sql.SQL("""
    SELECT j.collection_id, im.url, j.status, j.reason, j.updated_at
    FROM clipgres.job j JOIN clipgres.image im ON im.id = j.image_id
    WHERE j.collection_id = ANY (%s)
""")
# An embedding belongs to a job that ended well, has its dimension, and comes with the facts and the thumbnail.
HALF_SQL = sql.SQL("""
    SELECT count(*) AS half
    FROM (SELECT * FROM clipgres.job WHERE collection_id = %(collection)s) j
    FULL JOIN {items} i ON i.image_id = j.image_id
    LEFT JOIN clipgres.image im ON im.id = coalesce(j.image_id, i.image_id)
    LEFT JOIN clipgres.thumbnail t ON t.image_id = im.id
    WHERE (i.id IS NOT NULL) <> (j.status IS NOT DISTINCT FROM 'ok')
       OR i.id IS NOT NULL AND (vector_dims(i.embedding) <> %(dimension)s OR im.state <> 'ok')
       OR (im.state = 'ok') <> (
           im.sha256 IS NOT NULL AND im.phash IS NOT NULL AND im.width IS NOT NULL AND im.height IS NOT NULL
           AND im.bytes IS NOT NULL AND im.last_seen_alive IS NOT NULL AND t.webp IS NOT NULL
       )
""")
DUPLICATE_SQL = sql.SQL("""
    SELECT coalesce(sum(times - 1), 0)::int AS duplicates
    FROM (SELECT count(*) AS times FROM {items} GROUP BY image_id) each WHERE times > 1
""")
BATCH_SQL = sql.SQL("""
    SELECT b.lines, b.accepted, b.merged, b.refused, b.finished IS NOT NULL AS is_finished,
           (SELECT count(*) FROM clipgres.batch_job x WHERE x.batch_id = b.id) AS jobs
    FROM clipgres.batch b WHERE b.id = %s
""")


@dataclass
class Verdict:
    """What was found broken; `seen` says each finding for a person."""

    lost: int = 0
    duplicate: int = 0
    half_written: int = 0
    other: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def is_broken(self) -> bool:
        """Whether an invariant does not hold."""
        return bool(self.lost or self.duplicate or self.half_written or self.other)

    def add(self, other: Verdict) -> None:
        """Take over what another found."""
        self.lost += other.lost
        self.duplicate += other.duplicate
        self.half_written += other.half_written
        self.other += other.other
        self.seen += other.seen

    def say(self, what: str, count: int, examples: object = "") -> int:
        """Note a finding; returns how often it was there."""
        if count:
            self.seen.append(f"{count} {what} {examples}".strip())
        return count


Job = tuple[int, str]
State = tuple[str, str | None, datetime]


def jobs(connection: psycopg.Connection[Any], collections: list[Collection]) -> dict[Job, State]:
    """How each job of the collections stands."""
    rows = connection.execute(JOBS_SQL, [[collection.id for collection in collections]]).fetchall()
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}


def is_ended(state: State) -> bool:
    """Whether a job came to its end."""
    return state[0] in ("ok", "failed")


def check_rows(connection: psycopg.Connection[Any], collections: list[Collection], verdict: Verdict) -> None:
    """I2 and I3, which hold at every moment."""
    for collection in collections:
        items = sql.Identifier(*collection.item_table.split("."))
        parameters = {"collection": collection.id, "dimension": collection.space.dimension}
        [half] = connection.execute(HALF_SQL.format(items=items), parameters).fetchone() or [0]
        [duplicates] = connection.execute(DUPLICATE_SQL.format(items=items)).fetchone() or [0]
        verdict.half_written += verdict.say("half-written rows", half, f"in {collection.name}")
        verdict.duplicate += verdict.say("duplicate embeddings", duplicates, f"in {collection.name}")


def check_ends(found: dict[Job, State], expected: dict[Job, Reason | None], verdict: Verdict) -> None:
    """I1: each URL that was taken came to its one end, and there are no others."""
    missing = [job[1] for job in expected if job not in found]
    unended = [(job[1], found[job][0]) for job in expected if job in found and not is_ended(found[job])]
    wrong = [
        (job[1], found[job][:2], f"not {reason or 'ok'}")
        for job, reason in expected.items()
        if job in found and is_ended(found[job]) and found[job][:2] != _end(reason)
    ]
    more = [job[1] for job in found if job not in expected]
    verdict.lost += verdict.say("URLs without a job", len(missing), missing[:SHOWN])
    verdict.lost += verdict.say("URLs that never ended", len(unended), unended[:SHOWN])
    verdict.other += verdict.say("URLs with another end", len(wrong), wrong[:SHOWN])
    verdict.other += verdict.say("URLs that nobody added", len(more), more[:SHOWN])


def _end(reason: Reason | None) -> tuple[str, str | None]:
    return ("ok", None) if reason is None else ("failed", reason.value)


def check_counts(
    connection: psycopg.Connection[Any], ledger: Ledger, found: dict[Job, State], verdict: Verdict
) -> None:
    """I5: what clients were told is what is there, and accepted is what ended well, failed or still waits."""
    accepted: Counter[int] = Counter()
    with connection.cursor(row_factory=dict_row) as cursor:
        for wanted, added in ledger.taken:
            there = cursor.execute(BATCH_SQL, [added.batch]).fetchone()
            told = {name: getattr(added, name) for name in ("lines", "accepted", "merged", "refused")}
            accepted[ledger.collections[wanted.collection].id] += added.accepted
            is_right = there == told | {"is_finished": True, "jobs": len(wanted.ends)} and added.lines == wanted.lines
            verdict.other += verdict.say("batch miscounted", not is_right, f"{wanted.path.name}: {there}, told {told}")
    held = Counter(collection for collection, _ in found)
    wrong = {number: (accepted[number], held[number]) for number in held | accepted if accepted[number] != held[number]}
    verdict.other += verdict.say("collections with another count than accepted", len(wrong), wrong)
