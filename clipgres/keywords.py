"""The ranking by keywords: which captions hold the words, and which of them hold them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.errors import BadRequest
from clipgres.plans import Wanted
from clipgres.plans.statements import SETTINGS_SQL

# Where more captions hold the words, any so many are ranked, and the answer says so: 0.1 s on two cores.
MOST_CAPTIONS = 50_000

# What cannot be looked up in an index is left out of `querytree`, and T stands for all of it.
LOOK_SQL = text("""
    SELECT numnode(words) = 0 AS is_empty, querytree(words) IN ('', 'T') AS only_excludes
    FROM websearch_to_tsquery('english', :keywords) words
""")

# An item ranks by its best caption. Many captions hold the same words equally well: then the nearer item is first.
RANK_SQL = """
    WITH held AS MATERIALIZED (
        SELECT i.id, ts_rank_cd(c.tsv, websearch_to_tsquery('english', :keywords)) AS rank,
               i.embedding <=> CAST(:query AS halfvec) AS distance
        FROM clipgres.caption c
        JOIN {items} i ON i.image_id = c.image_id
        LEFT JOIN clipgres.image im ON im.id = i.image_id
        WHERE c.tsv @@ websearch_to_tsquery('english', :keywords)
          AND i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
        LIMIT :cap
    )
    SELECT id, (SELECT count(*) FROM held) AS held
    FROM held
    GROUP BY id
    ORDER BY max(rank) DESC, min(distance), id
    LIMIT {limit}
"""


@dataclass(frozen=True, slots=True)
class Held:
    """The items whose captions hold the keywords, best first; `capped` when too many do to look at all of them."""

    ids: Sequence[int]
    capped: bool


def rank_by_keywords(engine: Engine, wanted: Wanted, keywords: str) -> Held:
    """The first `wanted.limit` items whose captions hold the keywords.

    Keywords are as people type them into a search engine: quotes for a phrase, -word, OR.

    Raises:
        BadRequest: there is no word in them that can be looked up.
        Unavailable: the database is away, or it took longer than it may.
    """
    with transaction(engine) as connection:
        settings = {"timeout_ms": str(wanted.timeout_ms), "plan_cache_mode": "force_custom_plan"}
        connection.execute(text(SETTINGS_SQL), settings)
        look = connection.execute(LOOK_SQL, {"keywords": keywords}).one()
        if look.is_empty:
            raise BadRequest(
                "keywords: they hold no word to search for; words like `the` and `of` are none", "keywords"
            )
        if look.only_excludes:
            raise BadRequest("keywords: they only leave out; add a word that captions should hold", "keywords")
        parameters = {**wanted.parameters, "keywords": keywords, "cap": MOST_CAPTIONS + 1}
        rows = connection.execute(wanted.statement(RANK_SQL), parameters).all()
    return Held([row.id for row in rows], capped=bool(rows) and rows[0].held > MOST_CAPTIONS)
