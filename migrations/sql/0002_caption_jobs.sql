-- Which images want the vectors of their captions; clipgres/schema/work.py says what it is for.

CREATE TABLE IF NOT EXISTS clipgres.caption_job (
    collection_id INTEGER NOT NULL,
    image_id BIGINT NOT NULL,
    CONSTRAINT caption_job_pkey PRIMARY KEY (collection_id, image_id),
    CONSTRAINT caption_job_job_fkey FOREIGN KEY(collection_id, image_id) REFERENCES clipgres.job (collection_id, image_id) ON DELETE CASCADE
);

DO $$
BEGIN
    GRANT ALL ON clipgres.caption_job TO clipgres_owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON clipgres.caption_job TO clipgres_worker;
    GRANT SELECT, INSERT, UPDATE ON clipgres.caption_job TO clipgres_web;
EXCEPTION
    WHEN undefined_object THEN NULL;  -- revision 0001 said that no roles were made
END
$$;
