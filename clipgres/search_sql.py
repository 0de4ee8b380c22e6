"""The statements of search, whole. `{items}` is a collection's table, `{condition}` the SQL of a filter; the limits are
numbers in the text, so that the planner sees them and can keep a plan. Everything else is bound.
"""

from __future__ import annotations

from sqlalchemy import text

# Compiling would cost more than any of these statements takes. A plan made for any value of a filter can be a bad one
# for the value at hand.
SETTINGS_SQL = text("""
    SELECT set_config('statement_timeout', :timeout_ms, true),
           set_config('jit', 'off', true),
           set_config('plan_cache_mode', :plan_cache_mode, true),
           set_config('enable_seqscan', :enable_seqscan, true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.max_scan_tuples', :max_scan_tuples, true),
           set_config('hnsw.ef_search', :ef_search, true)
""")

# A row estimate of -1 says that the table was never analysed. The least and the greatest namespace are two looks into
# the index of keys.
SURVEY_SQL = """
    SELECT t.reltuples::bigint AS row_estimate,
           EXISTS (
               SELECT FROM pg_index x JOIN pg_class xc ON xc.oid = x.indexrelid
               WHERE x.indrelid = t.oid AND xc.relname = :index AND x.indisvalid
           ) AS has_index,
           (SELECT min(namespace) <> :namespace OR max(namespace) <> :namespace FROM {items}) AS has_other_namespaces
    FROM pg_class t
    WHERE t.oid = CAST(:items AS regclass)
"""

MATCHING_SQL = """
    SELECT FROM {items} i
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
"""
COUNT_SQL = f"SELECT count(*) FROM ({MATCHING_SQL} LIMIT :cap) capped"  # noqa: S608 - both parts are ours
ESTIMATE_SQL = f"EXPLAIN (FORMAT JSON) {MATCHING_SQL}"

# The condition stands in a subquery, which the planner does not take apart: it can use no other index then, and with
# `enable_seqscan` off the ordered scan of the HNSW index is all that is left.
INDEX_SCAN_SQL = """
        SELECT i.id, i.embedding <=> CAST(:query AS halfvec) AS distance
        FROM {items} i
        WHERE (
            SELECT i.namespace = :namespace AND {condition}
            FROM (SELECT i.image_id) one
            LEFT JOIN clipgres.image im ON im.id = one.image_id
        )
        ORDER BY i.embedding <=> CAST(:query AS halfvec)
        LIMIT {scan_limit}
"""

# With + 0 the order is not the index's, which therefore cannot be used.
EXACT_SCAN_SQL = """
        SELECT i.id, (i.embedding <=> CAST(:query AS halfvec)) + 0 AS distance
        FROM {items} i
        LEFT JOIN clipgres.image im ON im.id = i.image_id
        WHERE i.namespace = :namespace AND {condition}
        ORDER BY distance, i.id
        LIMIT {scan_limit}
"""

# Everything that is shown is joined to the few rows that were found. Subqueries of one value, unlike EXISTS, are looked
# up by index for each row, whatever the statistics say.
ROWS_SQL = """
    WITH nearest AS MATERIALIZED ({scan}    )
    SELECT n.distance, i.key, i.metadata, i.image_id, im.url, im.host, im.width, im.height,
           (
               SELECT (array_agg(c.text ORDER BY c.id))[1:20] FROM clipgres.caption c WHERE c.image_id = i.image_id
           ) AS captions,
           (SELECT t.image_id FROM clipgres.thumbnail t WHERE t.image_id = i.image_id) IS NOT NULL AS has_thumbnail
    FROM nearest n
    JOIN {{items}} i ON i.id = n.id
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE n.id <> ALL (CAST(:left_out AS bigint[]))
    ORDER BY n.distance, n.id
    LIMIT {{limit}}
"""
INDEX_SQL = ROWS_SQL.format(scan=INDEX_SCAN_SQL)
EXACT_SQL = ROWS_SQL.format(scan=EXACT_SCAN_SQL)
