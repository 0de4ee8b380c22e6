"""The statements that recall is measured by, whole; `{items}` is a collection's table, `{limit}` a number of ours."""

from __future__ import annotations

from sqlalchemy import text

# Under these two the ordered scan of the index is all that is left to the planner, or cannot be taken.
INDEX_SETTINGS_SQL = text("""
    SELECT set_config('statement_timeout', :timeout_ms, true),
           set_config('jit', 'off', true),
           set_config('enable_seqscan', 'off', true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.ef_search', :ef_search, true)
""")
EXACT_SETTINGS_SQL = text("""
    SELECT set_config('statement_timeout', :timeout_ms, true), set_config('jit', 'off', true)
""")

INDEX_SQL = """
    SELECT i.id, i.embedding <=> CAST(:query AS halfvec) AS distance
    FROM {items} i
    ORDER BY i.embedding <=> CAST(:query AS halfvec)
    LIMIT {limit}
"""

# With + 0 the order is not the index's, which therefore cannot be used.
EXACT_SQL = """
    SELECT i.id, (i.embedding <=> CAST(:query AS halfvec)) + 0 AS distance
    FROM {items} i
    ORDER BY distance
    LIMIT {limit}
"""

# In any order, so that not the texts of one moment are taken.
TEXTS_SQL = text("""
    SELECT q.embedding
    FROM clipgres.query_embedding q
    WHERE q.model = :model AND vector_dims(q.embedding) = :dimension
    ORDER BY random()
    LIMIT :limit
""")

PICTURES_SQL = text("SELECT host, width FROM clipgres.image WHERE id = ANY (CAST(:ids AS bigint[]))")

NAMESPACES_SQL = "SELECT min(namespace) <> max(namespace) FROM {items}"

KEEP_SQL = text("""
    INSERT INTO clipgres.quality_sample (collection_id, measured_at, ef_search, queries, recall, worst, detail)
    VALUES (:collection, :measured_at, :ef_search, :queries, :recall, :worst, CAST(:detail AS jsonb))
""")

HISTORY_SQL = text("""
    SELECT s.measured_at, s.ef_search, s.queries, s.recall, s.worst, s.detail
    FROM clipgres.quality_sample s
    WHERE s.collection_id = :collection
    ORDER BY s.measured_at DESC, s.ef_search
    LIMIT :limit
""")
