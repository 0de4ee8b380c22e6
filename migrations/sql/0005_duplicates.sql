-- Pictures that are there more than once: clipgres/schema/duplicates.py says what each column and table is for.

CREATE TABLE clipgres.duplicate (
    collection_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    image_id BIGINT NOT NULL,
    group_id BIGINT NOT NULL,
    CONSTRAINT duplicate_pkey PRIMARY KEY (collection_id, kind, image_id),
    CONSTRAINT duplicate_kind_check CHECK (kind IN ('url', 'bytes', 'near')),
    CONSTRAINT duplicate_job_fkey FOREIGN KEY(collection_id, image_id)
        REFERENCES clipgres.job (collection_id, image_id) ON DELETE CASCADE
);
CREATE INDEX duplicate_group_idx ON clipgres.duplicate (collection_id, kind, group_id);
CREATE INDEX duplicate_job_idx ON clipgres.duplicate (collection_id, image_id);

CREATE TABLE clipgres.duplicate_look (
    collection_id INTEGER NOT NULL,
    image_id BIGINT NOT NULL,
    phash BIGINT NOT NULL,
    leader_id BIGINT NOT NULL,
    CONSTRAINT duplicate_look_pkey PRIMARY KEY (collection_id, image_id),
    CONSTRAINT duplicate_look_job_fkey FOREIGN KEY(collection_id, image_id)
        REFERENCES clipgres.job (collection_id, image_id) ON DELETE CASCADE
);
CREATE INDEX duplicate_look_near_idx ON clipgres.duplicate_look (collection_id, leader_id) WHERE leader_id <> image_id;

CREATE TABLE clipgres.duplicate_rule (
    collection_id INTEGER NOT NULL,
    near_bits SMALLINT NOT NULL,
    near_score REAL NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT duplicate_rule_pkey PRIMARY KEY (collection_id),
    CONSTRAINT duplicate_rule_near_bits_check CHECK (near_bits BETWEEN 0 AND 11),
    CONSTRAINT duplicate_rule_near_score_check CHECK (near_score BETWEEN -1 AND 1),
    CONSTRAINT duplicate_rule_collection_id_fkey FOREIGN KEY(collection_id)
        REFERENCES clipgres.collection (id) ON DELETE CASCADE
);

CREATE TABLE clipgres.duplicate_decision (
    url_a BYTEA NOT NULL,
    url_b BYTEA NOT NULL,
    is_duplicate BOOLEAN NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT duplicate_decision_pkey PRIMARY KEY (url_a, url_b),
    CONSTRAINT duplicate_decision_order_check CHECK (url_a < url_b),
    CONSTRAINT duplicate_decision_url_keys_check CHECK (octet_length(url_a) = 32 AND octet_length(url_b) = 32)
);

CREATE TABLE clipgres.placeholder (
    sha256 BYTEA NOT NULL,
    is_placeholder BOOLEAN NOT NULL,
    note TEXT,
    decided_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT placeholder_pkey PRIMARY KEY (sha256),
    CONSTRAINT placeholder_sha256_check CHECK (octet_length(sha256) = 32)
);

-- The groups as SQL sees them, by the name of the collection: joined by image_id with its view.
CREATE VIEW public.clip_duplicates AS
SELECT a.name AS collection, d.kind, d.image_id, d.group_id
FROM clipgres.duplicate d
JOIN clipgres.alias a ON a.collection_id = d.collection_id;
COMMENT ON VIEW public.clip_duplicates IS
    'pictures that are there more than once: kind is url, bytes or near, group_id the smallest image_id of the group';

DO $$
BEGIN
    GRANT ALL ON clipgres.duplicate, clipgres.duplicate_look, clipgres.duplicate_rule, clipgres.duplicate_decision,
        clipgres.placeholder TO clipgres_owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON clipgres.duplicate, clipgres.duplicate_look, clipgres.duplicate_rule,
        clipgres.duplicate_decision, clipgres.placeholder TO clipgres_worker;
    GRANT SELECT ON clipgres.duplicate, clipgres.duplicate_look, clipgres.duplicate_rule, clipgres.duplicate_decision,
        clipgres.placeholder TO clipgres_web;
    GRANT SELECT ON public.clip_duplicates TO clipgres_owner, clipgres_worker, clipgres_web, clipgres_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;  -- revision 0001 said that no roles were made
END
$$;
