-- What the roles may do with the SQL interface; rights of the database itself are clipgres/rights.py's.

-- They see with their owner's eyes: nobody else has them unless by one of the roles, where there are any.
REVOKE ALL ON FUNCTION public.clip_text(text, text), public.clip_wish(text, text, boolean, timestamptz),
    public.clip_score(halfvec, halfvec), public.clip_score(halfvec, text, text),
    public.similar_to(text, text, integer, text) FROM PUBLIC;
REVOKE ALL ON PROCEDURE public.clip_embed(text, text) FROM PUBLIC;

DO $$
BEGIN
    GRANT ALL ON clipgres.query_refusal TO clipgres_owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON clipgres.query_refusal TO clipgres_worker;
    GRANT EXECUTE ON FUNCTION public.clip_wish(text, text, boolean, timestamptz), public.clip_score(halfvec, halfvec),
        public.clip_score(halfvec, text, text), public.similar_to(text, text, integer, text)
        TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;
    GRANT EXECUTE ON PROCEDURE public.clip_embed(text, text)
        TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;  -- revision 0001 said that no roles were made
END
$$;

-- Imports go through temporary tables, which clipgres/rights.py takes from PUBLIC.
DO $$
BEGIN
    EXECUTE format('GRANT TEMP ON DATABASE %I TO clipgres_owner, clipgres_worker, clipgres_web', current_database());
EXCEPTION
    WHEN undefined_object OR insufficient_privilege THEN NULL;  -- then they are not taken from PUBLIC either
END
$$;

-- For `clipgres psql --reader`.
DO $$
BEGIN
    GRANT clipgres_reader TO clipgres_owner;
EXCEPTION
    WHEN undefined_object THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'clipgres: a superuser should GRANT clipgres_reader TO clipgres_owner';
END
$$;

-- So that a worker can end the sessions of readers that take too long.
DO $$
BEGIN
    GRANT pg_signal_backend, pg_read_all_stats TO clipgres_owner, clipgres_worker;
EXCEPTION
    WHEN undefined_object THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'clipgres: a superuser should GRANT pg_signal_backend, pg_read_all_stats TO clipgres_worker';
END
$$;
