-- Drops every table of schema clipgres, those of collections included, save Alembic's own version table.

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'clipgres' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DROP TABLE IF EXISTS clipgres.%I CASCADE', name);
    END LOOP;
END
$$;
