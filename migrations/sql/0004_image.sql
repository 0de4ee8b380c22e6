-- What a link said and when; it may be run twice: clipgres/schema/work.py says what each column and table is for.

ALTER TABLE clipgres.image
    ADD COLUMN IF NOT EXISTS last_modified TEXT,
    ADD COLUMN IF NOT EXISTS final_url TEXT,
    ADD COLUMN IF NOT EXISTS x_robots_tag TEXT,
    ADD COLUMN IF NOT EXISTS checked_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS changed_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS same_checks SMALLINT DEFAULT '0' NOT NULL,
    ADD COLUMN IF NOT EXISTS failed_checks SMALLINT DEFAULT '0' NOT NULL;
-- Rows that are there hold only old reasons: looking them all through would lock the table for long and find nothing.
ALTER TABLE clipgres.image
    DROP CONSTRAINT IF EXISTS image_known_reason_check,
    ADD CONSTRAINT image_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed', 'timeout',
        'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden', 'rate_limited',
        'server_error', 'http_status', 'robots_denied', 'opted_out', 'not_an_image', 'truncated', 'broken_image',
        'too_many_bytes', 'too_many_pixels', 'too_small', 'bad_aspect', 'placeholder', 'decoder_failed', 'stuck',
        'encoder_failed'
    )) NOT VALID;
