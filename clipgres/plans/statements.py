"""The statements of search, whole. `{items}` and `{captions}` are a collection's tables, `{condition}` the SQL of a
filter; the limits are numbers in the text, so that the planner sees them and can keep a plan. Everything else is bound.
"""

from __future__ import annotations

from clipgres.request import Criterion

# What searches run under, for a transaction. Compiling would cost more than any of these statements takes.
SETTINGS_SQL = """
    SELECT ARRAY[
        set_config('statement_timeout', :timeout_ms, true),
        set_config('jit', 'off', true),
        set_config('plan_cache_mode', :plan_cache_mode, true)
    ] AS settings
"""

# With `enable_seqscan` off the ordered scan of the HNSW index is all that is left to the planner. Candidates are sorted
# outside, so that their order may be relaxed. The answer says whether the index is still there.
INDEX_SETTINGS_SQL = """
    SELECT (SELECT x.indisvalid FROM pg_index x WHERE x.indexrelid = to_regclass(:index)) AS has_index,
           ARRAY[
               set_config('statement_timeout', :timeout_ms, true),
               set_config('jit', 'off', true),
               set_config('plan_cache_mode', :plan_cache_mode, true),
               set_config('enable_seqscan', 'off', true),
               set_config('hnsw.iterative_scan', 'relaxed_order', true),
               set_config('hnsw.max_scan_tuples', :max_scan_tuples, true),
               set_config('hnsw.ef_search', :ef_search, true)
           ] AS settings
"""

# The least and the greatest namespace are two looks into the index of keys. Row counts are those of the last analysis.
SURVEY_SQL = """
    SELECT EXISTS (
               SELECT FROM pg_index x WHERE x.indexrelid = to_regclass(:item_index) AND x.indisvalid
           ) AS has_item_index,
           EXISTS (
               SELECT FROM pg_index x WHERE x.indexrelid = to_regclass(:caption_index) AND x.indisvalid
           ) AS has_caption_index,
           (SELECT t.reltuples FROM pg_class t WHERE t.oid = CAST(:items AS regclass)) AS items,
           (SELECT t.reltuples FROM pg_class t WHERE t.oid = CAST(:captions AS regclass)) AS captions,
           (SELECT min(namespace) FROM {items}) AS least_namespace,
           (SELECT max(namespace) FROM {items}) AS greatest_namespace
"""

MATCHING_SQL = """
    SELECT FROM {items} i
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
"""
ESTIMATE_SQL = f"EXPLAIN (FORMAT JSON) {MATCHING_SQL}"

# The nearest candidates, filter or no filter; then those of them that match, read only as far as they are wanted. The
# condition stands in a subquery, which the planner does not take apart and turn into a join of everything.
NEAR_SQL = """
        SELECT i.id, i.distance, i.place
        FROM (
            SELECT near.*, row_number() OVER () AS place
            FROM (
                SELECT i.id, i.namespace, i.key, i.image_id, i.metadata, i.created_at,
                       i.embedding <=> CAST(:query AS halfvec) AS distance
                FROM {items} i
                ORDER BY i.embedding <=> CAST(:query AS halfvec)
                LIMIT {candidates}
            ) near
        ) i
        WHERE (
            SELECT i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
            FROM (SELECT i.image_id) one
            LEFT JOIN clipgres.image im ON im.id = one.image_id
        )
        LIMIT {taken}
"""
# An item is as near as the nearest of its captions.
NEAR_CAPTIONS_SQL = """
        SELECT i.id, min(near.distance) AS distance, min(near.place) AS place
        FROM (
            SELECT c.*, row_number() OVER () AS place
            FROM (
                SELECT c.image_id, c.embedding <=> CAST(:query AS halfvec) AS distance
                FROM {captions} c
                ORDER BY c.embedding <=> CAST(:query AS halfvec)
                LIMIT {candidates}
            ) c
        ) near
        JOIN {items} i ON i.image_id = near.image_id
        LEFT JOIN clipgres.image im ON im.id = i.image_id
        WHERE i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
        GROUP BY i.id
"""

# With + 0 the order is not the index's, which therefore cannot be used.
DISTANCES_SQL = """
        SELECT i.id, (i.embedding <=> CAST(:query AS halfvec)) + 0 AS distance
        FROM {items} i
        LEFT JOIN clipgres.image im ON im.id = i.image_id
        WHERE i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
"""
CAPTION_DISTANCES_SQL = """
        SELECT i.id, min(c.embedding <=> CAST(:query AS halfvec)) + 0 AS distance
        FROM {items} i
        LEFT JOIN clipgres.image im ON im.id = i.image_id
        JOIN {captions} c ON c.image_id = i.image_id
        WHERE i.namespace = :namespace AND i.id <> ALL (CAST(:left_out AS bigint[])) AND {condition}
        GROUP BY i.id
"""

NEAREST_SQL = """
        SELECT * FROM ({found}        ) found
        ORDER BY distance, id
        LIMIT {{limit}}
"""
ALL_DISTANCES = {Criterion.IMAGE: DISTANCES_SQL, Criterion.TEXT: CAPTION_DISTANCES_SQL}
EXACT_SCANS = {criterion: NEAREST_SQL.format(found=found) for criterion, found in ALL_DISTANCES.items()}
INDEX_SCANS = {
    Criterion.IMAGE: NEAREST_SQL.format(found=NEAR_SQL),
    Criterion.TEXT: NEAREST_SQL.format(found=NEAR_CAPTIONS_SQL),
}

# Everything that is shown is joined to the few rows that were found. Subqueries of one value, unlike EXISTS, are looked
# up by index for each row, whatever the statistics say.
ROWS_SQL = """
    SELECT n.id, n.distance, i.key, i.metadata, i.image_id, im.url, im.host, im.width, im.height,
           nullif(im.state, 'new') = 'ok' AS alive,
           (
               SELECT (array_agg(c.text ORDER BY c.id))[1:20] FROM clipgres.caption c WHERE c.image_id = i.image_id
           ) AS captions,
           (SELECT t.image_id FROM clipgres.thumbnail t WHERE t.image_id = i.image_id) IS NOT NULL AS has_thumbnail,
           {also}
    FROM nearest n
    JOIN {{items}} i ON i.id = n.id
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    ORDER BY n.distance, n.id
"""
ONLY_NEAREST_SQL = """
    WITH nearest AS MATERIALIZED ({scan}    )
"""
# Counts what it ranks, up to a cap: the rows and the number of matches by one look at them.
COUNTED_SQL = """
    WITH matching AS MATERIALIZED ({distances}        LIMIT {{cap}}
    ), nearest AS MATERIALIZED (
        SELECT id, distance FROM matching
        ORDER BY distance, id
        LIMIT {{limit}}
    )
"""
COUNT_OF_MATCHING_SQL = "(SELECT count(*) FROM matching) AS matched"

INDEX_SQL = {
    criterion: ONLY_NEAREST_SQL.format(scan=scan) + ROWS_SQL.format(also="n.place")
    for criterion, scan in INDEX_SCANS.items()
}
EXACT_SQL = {
    criterion: ONLY_NEAREST_SQL.format(scan=scan) + ROWS_SQL.format(also="NULL AS matched")
    for criterion, scan in EXACT_SCANS.items()
}
COUNTED_EXACT_SQL = {
    criterion: COUNTED_SQL.format(distances=distances) + ROWS_SQL.format(also=COUNT_OF_MATCHING_SQL)
    for criterion, distances in ALL_DISTANCES.items()
}
