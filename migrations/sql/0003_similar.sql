-- Image to image in SQL: by the stored vector, without a model.

-- Exact where few rows are in question, or many are wanted. Else by the index: of its nearest candidates those of the
-- namespace, or exact after all where these do not suffice: the nearest fourth can be relied on (see clipgres/costs.py).
CREATE FUNCTION public.similar_to(collection text, item text, k integer DEFAULT 10, namespace text DEFAULT '')
RETURNS TABLE (
    key text, score double precision, url text, caption text, captions text[], width integer, height integer, host text,
    metadata jsonb
)
LANGUAGE plpgsql STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    exact_rows constant integer := 10000;
    candidates integer := least(greatest(8 * k, 160), 1000);  -- one pass over the index gives no more
    named clipgres.collection := clipgres.collection_named(similar_to.collection);
    items text := format('clipgres.%I', 'item_' || named.id);
    of_item bigint;
    query public.halfvec;
    there bigint;
    ids bigint[];
    distances double precision[];
    deepest bigint;
    ef_search text := current_setting('hnsw.ef_search', true);
    iterative_scan text := current_setting('hnsw.iterative_scan', true);
    enable_seqscan text := current_setting('enable_seqscan');
BEGIN
    IF k IS NULL OR k NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'k: % is not between 1 and 10,000', coalesce(k::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('SELECT i.id, i.embedding FROM %s i WHERE i.namespace = $1 AND i.key = $2', items)
        INTO of_item, query USING similar_to.namespace, item;
    IF of_item IS NULL THEN
        RAISE EXCEPTION 'there is no item "%" in collection "%"', left(item, 60), similar_to.collection
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT key, namespace FROM collections.%I LIMIT 10; shows some.', similar_to.collection);
    END IF;
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %s i WHERE i.namespace = $1 LIMIT $2) capped', items)
        INTO there USING similar_to.namespace, exact_rows + 1;
    IF there > exact_rows AND 4 * k <= candidates THEN
        PERFORM set_config('hnsw.ef_search', candidates::text, true), set_config('hnsw.iterative_scan', 'off', true),
                set_config('enable_seqscan', 'off', true);
        -- The index keeps vectors rounded, so its order is not quite that of the distances: with + 0 they are sorted.
        EXECUTE format(
            'SELECT array_agg(n.id ORDER BY n.distance, n.id), array_agg(n.distance ORDER BY n.distance, n.id), max(n.place)
             FROM (
                 SELECT c.id, c.distance + 0 AS distance, c.place
                 FROM (
                     SELECT near.*, row_number() OVER () AS place
                     FROM (
                         SELECT i.id, i.namespace, i.embedding OPERATOR(public.<=>) $1 AS distance FROM %s i
                         ORDER BY i.embedding OPERATOR(public.<=>) $1 LIMIT $5
                     ) near
                 ) c
                 WHERE c.namespace = $2 AND c.id <> $3
                 LIMIT $4
             ) n', items
        ) INTO ids, distances, deepest USING query, similar_to.namespace, of_item, k, candidates;
        PERFORM set_config('hnsw.ef_search', ef_search, true), set_config('hnsw.iterative_scan', iterative_scan, true),
                set_config('enable_seqscan', enable_seqscan, true);
    END IF;
    IF coalesce(cardinality(ids), 0) < k OR 4 * deepest > candidates THEN
        EXECUTE format(
            'SELECT array_agg(n.id ORDER BY n.distance, n.id), array_agg(n.distance ORDER BY n.distance, n.id)
             FROM (
                 SELECT i.id, (i.embedding OPERATOR(public.<=>) $1) + 0 AS distance FROM %s i
                 WHERE i.namespace = $2 AND i.id <> $3
                 ORDER BY distance, i.id LIMIT $4
             ) n', items
        ) INTO ids, distances USING query, similar_to.namespace, of_item, k;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT i.key, 1 - f.distance, im.url, t.captions[1], coalesce(t.captions, ''{}''), im.width, im.height, im.host,
                i.metadata
         FROM unnest($1, $2) WITH ORDINALITY AS f(id, distance, place)
         JOIN %s i ON i.id = f.id
         LEFT JOIN clipgres.image im ON im.id = i.image_id
         CROSS JOIN LATERAL (
             SELECT array_agg(c.text ORDER BY c.id) AS captions FROM clipgres.caption c WHERE c.image_id = i.image_id
         ) t
         ORDER BY f.place', items
    ) USING ids, distances;
END
$$;
COMMENT ON FUNCTION public.similar_to(text, text, integer, text) IS
    'what looks like an item, best first, without itself: SELECT key, score, caption FROM similar_to(''default'', ''17'', k => 20)';
