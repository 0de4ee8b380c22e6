-- Caption space: a second view an alias, over the vectors of captions; clipgres/aliases.py keeps both from now on.

CREATE SCHEMA collection_captions;
COMMENT ON SCHEMA collection_captions IS
    'one view a collection, by its alias, a row a caption with its vector; SELECT caption, key FROM collection_captions.default ...';

DO $$
BEGIN
    GRANT USAGE ON SCHEMA collection_captions TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;
    -- Views of collections are made later, by whoever migrates.
    ALTER DEFAULT PRIVILEGES IN SCHEMA collection_captions
        GRANT SELECT ON TABLES TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;  -- revision 0001 said that no roles were made
END
$$;

DO $$
DECLARE
    alias record;
BEGIN
    FOR alias IN SELECT a.name, a.collection_id AS id FROM clipgres.alias a LOOP
        EXECUTE format(
            'CREATE VIEW collection_captions.%1$I AS
             SELECT c.text AS caption, e.embedding::public.halfvec AS embedding, i.key, i.namespace, i.image_id, im.url,
                    im.width, im.height, im.host, i.metadata, i.id, c.id AS caption_id, c.source, c.tsv
             FROM clipgres.caption_%2$s e
             JOIN clipgres.caption c ON c.id = e.caption_id
             JOIN clipgres.item_%2$s i ON i.image_id = e.image_id
             LEFT JOIN clipgres.image im ON im.id = e.image_id',
            alias.name, alias.id
        );
    END LOOP;
END
$$;
