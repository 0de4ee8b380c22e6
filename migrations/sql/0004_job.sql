-- Failures to ignore; it may be run twice: clipgres/schema/work.py says what each column and table is for.

ALTER TABLE clipgres.job ADD COLUMN IF NOT EXISTS ignored_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE clipgres.job
    DROP CONSTRAINT IF EXISTS job_ignored_check,
    ADD CONSTRAINT job_ignored_check CHECK (ignored_at IS NULL OR status = 'failed') NOT VALID;
-- Rows that are there hold only old reasons: looking them all through would lock the table for long and find nothing.
ALTER TABLE clipgres.job
    DROP CONSTRAINT IF EXISTS job_known_reason_check,
    ADD CONSTRAINT job_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed', 'timeout',
        'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden', 'rate_limited',
        'server_error', 'http_status', 'robots_denied', 'opted_out', 'not_an_image', 'truncated', 'broken_image',
        'too_many_bytes', 'too_many_pixels', 'too_small', 'bad_aspect', 'placeholder', 'decoder_failed', 'stuck',
        'encoder_failed'
    )) NOT VALID;
