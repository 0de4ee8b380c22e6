-- Texts in SQL: their vectors, and how a worker is asked for one that nobody searched for yet.

-- Why a text got no vector; whoever asked reads it within seconds.
CREATE TABLE clipgres.query_refusal (
    model TEXT NOT NULL,
    text_key UUID NOT NULL,
    reason TEXT NOT NULL,
    refused_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT query_refusal_pkey PRIMARY KEY (model, text_key)
);

CREATE FUNCTION clipgres.collection_named(name text) RETURNS clipgres.collection
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found clipgres.collection;
    known text;
BEGIN
    SELECT c.* INTO found
    FROM clipgres.alias a JOIN clipgres.collection c ON c.id = a.collection_id
    WHERE a.name = collection_named.name AND c.state = 'ready';
    IF found.id IS NULL THEN
        SELECT string_agg(format('"%s"', a.name), ', ' ORDER BY a.name) INTO known
        FROM (SELECT a.name FROM clipgres.alias a ORDER BY a.name LIMIT 20) a;
        RAISE EXCEPTION 'there is no collection "%"', left(collection_named.name, 60)
            USING ERRCODE = 'undefined_object', HINT = coalesce('There is: ' || known || '.', 'There are none yet.');
    END IF;
    RETURN found;
END
$$;

-- A text as its vector is kept under. The longest that NOTIFY carries is far more than any CLIP model reads.
CREATE FUNCTION clipgres.normal_text(query text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted text := btrim(regexp_replace(query, '\s+', ' ', 'g'));
BEGIN
    IF coalesce(wanted, '') = '' THEN
        RAISE EXCEPTION 'the text is empty' USING ERRCODE = 'invalid_parameter_value', HINT = 'Say what to look for.';
    END IF;
    IF octet_length(wanted) > 7800 THEN
        RAISE EXCEPTION 'the text has % bytes, more than the 7,800 that may be asked for in SQL', octet_length(wanted)
            USING ERRCODE = 'string_data_right_truncation',
                  HINT = 'Shorten it: a CLIP model reads about 50 words. The page and clipgres search cut it, and say so.';
    END IF;
    RETURN wanted;
END
$$;

CREATE OR REPLACE FUNCTION public.clip_text(query text, collection text DEFAULT 'default') RETURNS public.halfvec
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted text := btrim(regexp_replace(query, '\s+', ' ', 'g'));
    found public.vector;
    named clipgres.collection;
BEGIN
    SELECT q.embedding INTO found
    FROM clipgres.alias a
    JOIN clipgres.collection c ON c.id = a.collection_id AND c.state = 'ready'
    JOIN clipgres.query_embedding q ON q.model = c.model || '@' || c.model_revision AND q.text_key = md5(wanted)::uuid
    WHERE a.name = clip_text.collection;
    IF found IS NULL THEN
        named := clipgres.collection_named(clip_text.collection);
        wanted := clipgres.normal_text(query);
        RAISE EXCEPTION 'the text "%" has no vector yet', left(wanted, 60)
            USING ERRCODE = 'no_data_found',
                  HINT = format('CALL clip_embed(%L, %L); then run this again.', wanted, clip_text.collection);
    END IF;
    RETURN found::public.halfvec;
END
$$;
COMMENT ON FUNCTION public.clip_text(text, text) IS
    'CLIP vector of a text: SELECT key, caption FROM collections.default ORDER BY embedding <=> (SELECT clip_text(''two dogs'')) LIMIT 10; in (SELECT ...) it is looked up once. A text that is new: CALL clip_embed(''two dogs'')';

-- How a wish stands: here, waiting, or unheard where no worker listens. With `asks`, the workers are told of it.
CREATE FUNCTION public.clip_wish(query text, collection text, asks boolean, since timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named clipgres.collection := clipgres.collection_named(clip_wish.collection);
    wanted text := clipgres.normal_text(query);
    space text := named.model || '@' || named.model_revision;
    refusal text;
    answerer bigint := hashtextextended('clipgres.answerer', 4715);
BEGIN
    PERFORM FROM clipgres.query_embedding q WHERE q.model = space AND q.text_key = md5(wanted)::uuid;
    IF FOUND THEN
        RETURN 'here';
    END IF;
    SELECT r.reason INTO refusal
    FROM clipgres.query_refusal r
    WHERE r.model = space AND r.text_key = md5(wanted)::uuid AND r.refused_at >= since;
    IF FOUND THEN
        RAISE EXCEPTION 'the text "%" gets no vector: %', left(wanted, 60), refusal
            USING ERRCODE = 'string_data_right_truncation',
                  HINT = 'Shorten it, or say it in other words. The page and clipgres search cut a text, and say so.';
    END IF;
    IF asks THEN
        PERFORM pg_notify('clipgres_text', named.id || ' ' || wanted);
    END IF;
    PERFORM FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = answerer;
    RETURN CASE WHEN FOUND THEN 'waiting' ELSE 'unheard' END;
END
$$;
COMMENT ON FUNCTION public.clip_wish(text, text, boolean, timestamptz) IS
    'part of clip_embed: whether the vector of a text is there, and asking the workers for it';

-- It commits, to be heard and to see the answer: so it has neither SECURITY DEFINER nor SET, and names all in full.
CREATE PROCEDURE public.clip_embed(query text, collection text DEFAULT 'default')
LANGUAGE plpgsql
AS $$
DECLARE
    began timestamptz := pg_catalog.statement_timestamp();
    clock timestamptz;
    ask_at timestamptz := began;
    unheard_at timestamptz := began OPERATOR(pg_catalog.+) interval '5 s';
    give_up_at timestamptz := began OPERATOR(pg_catalog.+) interval '30 s';
    asks boolean;
    state text;
BEGIN
    IF pg_catalog.pg_is_in_recovery() THEN
        RAISE EXCEPTION 'clip_embed needs the primary: this server is a replica' USING
            ERRCODE = 'read_only_sql_transaction',
            HINT = 'CALL it on the primary, and clip_text here a moment later.';
    END IF;
    BEGIN
        COMMIT;  -- fails either way here, and says by its words whether it may be done further below
    EXCEPTION WHEN invalid_transaction_termination THEN
        IF SQLERRM OPERATOR(pg_catalog.=) 'invalid transaction termination' THEN
            RAISE EXCEPTION 'clip_embed cannot run inside a transaction block' USING
                ERRCODE = 'active_sql_transaction',
                HINT = 'CALL it before BEGIN, or with autocommit on: the worker must see the wish.';
        END IF;
    END;
    -- An answer a little before the caller's own limit, of milliseconds, rather than its bare timeout.
    SELECT LEAST(give_up_at, began OPERATOR(pg_catalog.+) pg_catalog.make_interval(
               secs => 0.0008 OPERATOR(pg_catalog.*) s.setting::float8
           )) INTO give_up_at
    FROM pg_catalog.pg_settings s
    WHERE s.name OPERATOR(pg_catalog.=) 'statement_timeout' AND s.setting OPERATOR(pg_catalog.<>) '0';
    give_up_at := coalesce(give_up_at, began OPERATOR(pg_catalog.+) interval '30 s');
    unheard_at := LEAST(unheard_at, give_up_at);
    LOOP
        clock := pg_catalog.clock_timestamp();
        asks := clock OPERATOR(pg_catalog.>=) ask_at;
        state := public.clip_wish(query, collection, asks, began);
        EXIT WHEN state OPERATOR(pg_catalog.=) 'here';
        IF asks THEN  -- and again: a worker that was away for a moment hears of it too
            ask_at := clock OPERATOR(pg_catalog.+) interval '2 s';
        END IF;
        IF state OPERATOR(pg_catalog.=) 'waiting' THEN
            unheard_at := clock OPERATOR(pg_catalog.+) interval '5 s';
        END IF;
        COMMIT;
        IF clock OPERATOR(pg_catalog.>) unheard_at THEN
            RAISE EXCEPTION 'no worker answers: the text has no vector yet' USING
                ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Start a worker (clipgres up) and CALL again; clipgres doctor says what runs.';
        ELSIF clock OPERATOR(pg_catalog.>) give_up_at THEN
            RAISE EXCEPTION 'a worker heard of the text, but gave it no vector in time' USING
                ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'It may be loading its model: CALL again. Its log and clipgres doctor say more.';
        END IF;
        PERFORM pg_catalog.pg_sleep(0.01);
    END LOOP;
END
$$;
COMMENT ON PROCEDURE public.clip_embed(text, text) IS
    'Have a worker make the vector of a text, for clip_text: CALL clip_embed(''two dogs''); not inside BEGIN ... COMMIT, and on the primary';

CREATE FUNCTION public.clip_score(embedding public.halfvec, query public.halfvec) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 - (embedding OPERATOR(public.<=>) query);
COMMENT ON FUNCTION public.clip_score(public.halfvec, public.halfvec) IS
    'cosine of two vectors, -1 to 1, the more the nearer: SELECT key, clip_score(embedding, (SELECT clip_text(''two dogs''))) FROM collections.default';

CREATE FUNCTION public.clip_score(embedding public.halfvec, query text, collection text DEFAULT 'default')
RETURNS double precision
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN 1 - (embedding OPERATOR(public.<=>) public.clip_text(query, collection));
COMMENT ON FUNCTION public.clip_score(public.halfvec, text, text) IS
    'cosine of a vector and a text; it looks the text up for each row: for many rows give it (SELECT clip_text(...))';
