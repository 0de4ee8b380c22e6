-- The tables of schema clipgres as of revision 0001; clipgres/schema/ says what each is for.

CREATE TABLE clipgres.backup_run (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    started TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished TIMESTAMP WITH TIME ZONE,
    path TEXT NOT NULL,
    manifest JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT backup_run_pkey PRIMARY KEY (id)
);

CREATE TABLE clipgres.caption_embedding (
    caption_id BIGINT NOT NULL,
    image_id BIGINT NOT NULL,
    CONSTRAINT caption_embedding_pkey PRIMARY KEY (caption_id)
);
CREATE INDEX caption_embedding_image_idx ON clipgres.caption_embedding (image_id);

CREATE TABLE clipgres.collection (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    model TEXT NOT NULL,
    model_revision TEXT NOT NULL,
    preprocessing TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    metric TEXT DEFAULT 'cosine' NOT NULL,
    state TEXT DEFAULT 'ready' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT collection_pkey PRIMARY KEY (id),
    CONSTRAINT collection_metric_check CHECK (metric = 'cosine'),
    CONSTRAINT collection_dimension_check CHECK (dimension BETWEEN 1 AND 4000),
    CONSTRAINT collection_state_check CHECK (state IN ('ready', 'dropping'))
);

CREATE TABLE clipgres.image (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    url TEXT NOT NULL,
    url_key BYTEA NOT NULL,
    host TEXT NOT NULL,
    state TEXT DEFAULT 'new' NOT NULL,
    is_valid BOOLEAN GENERATED ALWAYS AS (state = 'ok') STORED NOT NULL,
    reason TEXT,
    http_status SMALLINT,
    content_type TEXT,
    bytes BIGINT,
    width INTEGER,
    height INTEGER,
    sha256 BYTEA,
    phash BIGINT,
    etag TEXT,
    first_seen_alive TIMESTAMP WITH TIME ZONE,
    last_seen_alive TIMESTAMP WITH TIME ZONE,
    next_check TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT image_pkey PRIMARY KEY (id),
    CONSTRAINT image_url_key_key UNIQUE (url_key),
    CONSTRAINT image_url_key_check CHECK (octet_length(url_key) = 32),
    CONSTRAINT image_state_check CHECK (state IN ('new', 'ok', 'failed')),
    CONSTRAINT image_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed',
        'timeout', 'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden',
        'rate_limited', 'server_error', 'http_status', 'not_an_image', 'truncated', 'broken_image',
        'too_many_bytes', 'too_many_pixels', 'too_small', 'bad_aspect', 'stuck', 'encoder_failed'
    )),
    CONSTRAINT image_reason_check CHECK ((state = 'failed') = (reason IS NOT NULL))
);
CREATE INDEX image_host_idx ON clipgres.image (host);
CREATE INDEX image_next_check_idx ON clipgres.image (next_check) WHERE next_check IS NOT NULL;
CREATE INDEX image_sha256_idx ON clipgres.image USING hash (sha256);

CREATE TABLE clipgres.item (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    namespace TEXT DEFAULT '' NOT NULL,
    key TEXT NOT NULL,
    image_id BIGINT,
    metadata JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT item_pkey PRIMARY KEY (id),
    CONSTRAINT item_namespace_key_key UNIQUE (namespace, key),
    CONSTRAINT item_key_check CHECK (octet_length(key) BETWEEN 1 AND 1024),
    CONSTRAINT item_namespace_check CHECK (octet_length(namespace) <= 512)
);
CREATE INDEX item_image_idx ON clipgres.item (image_id);
CREATE INDEX item_metadata_idx ON clipgres.item USING gin (metadata jsonb_path_ops);

CREATE TABLE clipgres.query_embedding (
    model TEXT NOT NULL,
    text_key UUID GENERATED ALWAYS AS (md5(text)::uuid) STORED NOT NULL,
    text TEXT NOT NULL,
    embedding vector NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT query_embedding_pkey PRIMARY KEY (model, text_key)
);
CREATE INDEX query_embedding_used_at_idx ON clipgres.query_embedding (used_at);

CREATE TABLE clipgres.saved_search (
    name TEXT NOT NULL,
    request JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT saved_search_pkey PRIMARY KEY (name)
);

CREATE TABLE clipgres.alias (
    name TEXT NOT NULL,
    collection_id INTEGER NOT NULL,
    CONSTRAINT alias_pkey PRIMARY KEY (name),
    CONSTRAINT alias_name_check CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,44}$'),
    CONSTRAINT alias_collection_id_fkey FOREIGN KEY(collection_id) REFERENCES clipgres.collection (id)
);
CREATE INDEX alias_collection_id_idx ON clipgres.alias (collection_id);

CREATE TABLE clipgres.batch (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    collection_id INTEGER NOT NULL,
    source TEXT NOT NULL,
    fingerprint TEXT,
    options JSONB DEFAULT '{}' NOT NULL,
    lines BIGINT DEFAULT '0' NOT NULL,
    accepted BIGINT DEFAULT '0' NOT NULL,
    merged BIGINT DEFAULT '0' NOT NULL,
    refused BIGINT DEFAULT '0' NOT NULL,
    started TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished TIMESTAMP WITH TIME ZONE,
    CONSTRAINT batch_pkey PRIMARY KEY (id),
    CONSTRAINT batch_collection_id_fkey FOREIGN KEY(collection_id) REFERENCES clipgres.collection (id)
);
CREATE INDEX batch_collection_id_idx ON clipgres.batch (collection_id);

CREATE TABLE clipgres.caption (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    image_id BIGINT NOT NULL,
    text TEXT NOT NULL,
    text_key UUID GENERATED ALWAYS AS (md5(text)::uuid) STORED NOT NULL,
    source TEXT DEFAULT 'list' NOT NULL,
    tsv TSVECTOR GENERATED ALWAYS AS (to_tsvector('english'::regconfig, text)) STORED NOT NULL,
    CONSTRAINT caption_pkey PRIMARY KEY (id),
    CONSTRAINT caption_image_id_text_key_key UNIQUE (image_id, text_key),
    CONSTRAINT caption_image_id_fkey FOREIGN KEY(image_id) REFERENCES clipgres.image (id) ON DELETE CASCADE
);
CREATE INDEX caption_tsv_idx ON clipgres.caption USING gin (tsv);

CREATE TABLE clipgres.item_label (
    collection_id INTEGER NOT NULL,
    item_id BIGINT NOT NULL,
    label TEXT NOT NULL,
    score REAL NOT NULL,
    CONSTRAINT item_label_pkey PRIMARY KEY (collection_id, item_id, label),
    CONSTRAINT item_label_collection_id_fkey FOREIGN KEY(collection_id) REFERENCES clipgres.collection (id) ON DELETE CASCADE
);
CREATE INDEX item_label_label_idx ON clipgres.item_label (collection_id, label, score);

CREATE TABLE clipgres.job (
    collection_id INTEGER NOT NULL,
    image_id BIGINT NOT NULL,
    namespace TEXT DEFAULT '' NOT NULL,
    key TEXT NOT NULL,
    metadata JSONB DEFAULT '{}' NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    reason TEXT,
    attempts SMALLINT DEFAULT '0' NOT NULL,
    lease_token UUID,
    leased_until TIMESTAMP WITH TIME ZONE,
    next_attempt_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT job_pkey PRIMARY KEY (collection_id, image_id),
    CONSTRAINT job_status_check CHECK (status IN ('pending', 'leased', 'ok', 'failed')),
    CONSTRAINT job_lease_token_check CHECK ((status = 'leased') = (lease_token IS NOT NULL)),
    CONSTRAINT job_leased_until_check CHECK ((status = 'leased') = (leased_until IS NOT NULL)),
    CONSTRAINT job_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed',
        'timeout', 'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden',
        'rate_limited', 'server_error', 'http_status', 'not_an_image', 'truncated', 'broken_image',
        'too_many_bytes', 'too_many_pixels', 'too_small', 'bad_aspect', 'stuck', 'encoder_failed'
    )),
    CONSTRAINT job_reason_check CHECK (status <> 'failed' OR reason IS NOT NULL),
    CONSTRAINT job_collection_id_namespace_key_key UNIQUE (collection_id, namespace, key),
    CONSTRAINT job_key_check CHECK (octet_length(key) BETWEEN 1 AND 1024),
    CONSTRAINT job_namespace_check CHECK (octet_length(namespace) <= 512),
    CONSTRAINT job_collection_id_fkey FOREIGN KEY(collection_id) REFERENCES clipgres.collection (id),
    CONSTRAINT job_image_id_fkey FOREIGN KEY(image_id) REFERENCES clipgres.image (id)
);
CREATE INDEX job_due_idx ON clipgres.job (collection_id, next_attempt_at) WHERE status = 'pending';
CREATE INDEX job_failed_idx ON clipgres.job (collection_id, reason) WHERE status = 'failed';
CREATE INDEX job_image_idx ON clipgres.job (image_id);
CREATE INDEX job_lease_idx ON clipgres.job (leased_until) WHERE status = 'leased';

CREATE TABLE clipgres.quality_sample (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    collection_id INTEGER NOT NULL,
    measured_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ef_search INTEGER NOT NULL,
    queries INTEGER NOT NULL,
    recall REAL NOT NULL,
    worst REAL NOT NULL,
    detail JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT quality_sample_pkey PRIMARY KEY (id),
    CONSTRAINT quality_sample_collection_id_fkey FOREIGN KEY(collection_id) REFERENCES clipgres.collection (id) ON DELETE CASCADE
);
CREATE INDEX quality_sample_collection_id_idx ON clipgres.quality_sample (collection_id);

CREATE TABLE clipgres.thumbnail (
    image_id BIGINT NOT NULL,
    webp BYTEA NOT NULL,
    CONSTRAINT thumbnail_pkey PRIMARY KEY (image_id),
    CONSTRAINT thumbnail_image_id_fkey FOREIGN KEY(image_id) REFERENCES clipgres.image (id) ON DELETE CASCADE
);
-- WebP does not compress further, so do not try.
ALTER TABLE clipgres.thumbnail ALTER COLUMN webp SET STORAGE EXTERNAL;

CREATE TABLE clipgres.batch_job (
    batch_id BIGINT NOT NULL,
    image_id BIGINT NOT NULL,
    collection_id INTEGER NOT NULL,
    CONSTRAINT batch_job_pkey PRIMARY KEY (batch_id, image_id),
    CONSTRAINT batch_job_job_fkey FOREIGN KEY(collection_id, image_id) REFERENCES clipgres.job (collection_id, image_id) ON DELETE CASCADE,
    CONSTRAINT batch_job_batch_id_fkey FOREIGN KEY(batch_id) REFERENCES clipgres.batch (id) ON DELETE CASCADE
);
CREATE INDEX batch_job_job_idx ON clipgres.batch_job (collection_id, image_id);

CREATE TABLE clipgres.refused_line (
    batch_id BIGINT NOT NULL,
    line BIGINT NOT NULL,
    reason TEXT NOT NULL,
    excerpt TEXT NOT NULL,
    CONSTRAINT refused_line_pkey PRIMARY KEY (batch_id, line),
    CONSTRAINT refused_line_batch_id_fkey FOREIGN KEY(batch_id) REFERENCES clipgres.batch (id) ON DELETE CASCADE
);

