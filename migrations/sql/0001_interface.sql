-- What a person may call from psql: the SQL interface as of revision 0001.

CREATE SCHEMA IF NOT EXISTS collections;
COMMENT ON SCHEMA collections IS 'one view a collection, by its alias; SELECT key, caption FROM collections.default ...';

-- The vector of a text in a collection's space, from the cache of texts that were asked for before.
CREATE OR REPLACE FUNCTION public.clip_text(query text, collection text DEFAULT 'default') RETURNS public.halfvec
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted text := btrim(regexp_replace(query, '\s+', ' ', 'g'));
    space text;
    found public.vector;
BEGIN
    SELECT c.model || '@' || c.model_revision INTO space
    FROM clipgres.alias a JOIN clipgres.collection c ON c.id = a.collection_id
    WHERE a.name = clip_text.collection;
    IF space IS NULL THEN
        RAISE EXCEPTION 'there is no collection "%"', clip_text.collection
            USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM clipgres.alias lists them.';
    END IF;
    SELECT q.embedding INTO found
    FROM clipgres.query_embedding q
    WHERE q.model = space AND q.text_key = md5(wanted)::uuid;
    IF found IS NULL THEN
        RAISE EXCEPTION 'the text "%" has no vector yet', left(wanted, 60)
            USING ERRCODE = 'no_data_found',
                  HINT = format('Search it once with clipgres search %L or on the page; its vector is kept.', left(wanted, 60));
    END IF;
    RETURN found::public.halfvec;
END
$$;
COMMENT ON FUNCTION public.clip_text(text, text) IS
    'CLIP vector of a text: SELECT key, caption FROM collections.default ORDER BY embedding <=> clip_text(''two dogs'') LIMIT 10';
