-- What survives of ingest: clipgres/schema/work.py says what each column and table is for.

CREATE TABLE clipgres.fetch_attempt (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    image_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    reason TEXT,
    http_status SMALLINT,
    detail TEXT,
    took_ms INTEGER,
    CONSTRAINT fetch_attempt_pkey PRIMARY KEY (id),
    CONSTRAINT fetch_attempt_image_id_fkey FOREIGN KEY(image_id) REFERENCES clipgres.image (id) ON DELETE CASCADE,
    CONSTRAINT fetch_attempt_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed', 'timeout',
        'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden', 'rate_limited',
        'server_error', 'http_status', 'robots_denied', 'opted_out', 'not_an_image', 'truncated', 'broken_image',
        'too_many_bytes', 'too_many_pixels', 'too_small', 'bad_aspect', 'placeholder', 'decoder_failed', 'stuck',
        'encoder_failed'
    ))
);
CREATE INDEX fetch_attempt_image_idx ON clipgres.fetch_attempt (image_id, at);

CREATE TABLE clipgres.host (
    name TEXT NOT NULL,
    paused_until TIMESTAMP WITH TIME ZONE NOT NULL,
    trips SMALLINT DEFAULT '0' NOT NULL,
    reason TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT host_pkey PRIMARY KEY (name),
    CONSTRAINT host_trips_check CHECK (trips >= 0),
    CONSTRAINT host_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed', 'timeout',
        'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden', 'rate_limited',
        'server_error', 'http_status', 'robots_denied', 'opted_out', 'not_an_image', 'truncated', 'broken_image',
        'too_many_bytes', 'too_many_pixels', 'too_small', 'bad_aspect', 'placeholder', 'decoder_failed', 'stuck',
        'encoder_failed'
    ))
);

DO $$
BEGIN
    GRANT ALL ON clipgres.fetch_attempt, clipgres.host TO clipgres_owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON clipgres.fetch_attempt, clipgres.host TO clipgres_worker;
    GRANT SELECT ON clipgres.fetch_attempt, clipgres.host TO clipgres_web;
    GRANT DELETE ON clipgres.host TO clipgres_web;
EXCEPTION
    WHEN undefined_object THEN NULL;  -- revision 0001 said that no roles were made
END
$$;
