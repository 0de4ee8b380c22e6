-- Group roles without login; GRANT one to a login role of yours. Where the migrating role may not make roles, the
-- block says so and leaves them out: everything works then for the owner alone.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['clipgres_owner', 'clipgres_worker', 'clipgres_web', 'clipgres_reader'] LOOP
        IF to_regrole(wanted) IS NULL THEN  -- another database of this server, or whoever may, made it
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;

    GRANT USAGE ON SCHEMA clipgres TO clipgres_owner, clipgres_worker, clipgres_web;
    GRANT USAGE ON SCHEMA collections TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;

    GRANT ALL ON ALL TABLES IN SCHEMA clipgres TO clipgres_owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA clipgres TO clipgres_worker;
    GRANT SELECT ON ALL TABLES IN SCHEMA clipgres TO clipgres_web;
    GRANT INSERT, UPDATE ON clipgres.image, clipgres.job, clipgres.caption, clipgres.batch, clipgres.batch_job,
        clipgres.refused_line, clipgres.query_embedding, clipgres.saved_search TO clipgres_web;
    GRANT DELETE ON clipgres.saved_search TO clipgres_web;

    -- Tables and views of collections are made later, by whoever migrates.
    ALTER DEFAULT PRIVILEGES IN SCHEMA clipgres
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO clipgres_worker;
    ALTER DEFAULT PRIVILEGES IN SCHEMA clipgres GRANT SELECT ON TABLES TO clipgres_web;
    ALTER DEFAULT PRIVILEGES IN SCHEMA collections
        GRANT SELECT ON TABLES TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;

    REVOKE ALL ON FUNCTION public.clip_text(text, text) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION public.clip_text(text, text)
        TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'clipgres: no roles were made, since % may not create roles', current_user;
END
$$;
