DROP TABLE clipgres.fetch_attempt, clipgres.host;
DROP INDEX clipgres.job_ended_idx, clipgres.job_failed_idx;
CREATE INDEX job_failed_idx ON clipgres.job (collection_id, reason) WHERE status = 'failed';
ALTER TABLE clipgres.job DROP CONSTRAINT job_ignored_check, DROP COLUMN ignored_at;
ALTER TABLE clipgres.collection DROP COLUMN paused_at;
ALTER TABLE clipgres.image
    DROP COLUMN last_modified, DROP COLUMN final_url, DROP COLUMN x_robots_tag,
    DROP COLUMN checked_at, DROP COLUMN changed_at, DROP COLUMN same_checks, DROP COLUMN failed_checks;
UPDATE clipgres.image SET reason = 'forbidden' WHERE reason = 'robots_denied';
UPDATE clipgres.image SET reason = 'forbidden' WHERE reason = 'opted_out';
UPDATE clipgres.image SET reason = 'not_an_image' WHERE reason = 'placeholder';
UPDATE clipgres.image SET reason = 'broken_image' WHERE reason = 'decoder_failed';
UPDATE clipgres.job SET reason = 'forbidden' WHERE reason = 'robots_denied';
UPDATE clipgres.job SET reason = 'forbidden' WHERE reason = 'opted_out';
UPDATE clipgres.job SET reason = 'not_an_image' WHERE reason = 'placeholder';
UPDATE clipgres.job SET reason = 'broken_image' WHERE reason = 'decoder_failed';
ALTER TABLE clipgres.image DROP CONSTRAINT image_known_reason_check;
ALTER TABLE clipgres.image ADD CONSTRAINT image_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed', 'timeout',
        'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden', 'rate_limited',
        'server_error', 'http_status', 'not_an_image', 'truncated', 'broken_image', 'too_many_bytes',
        'too_many_pixels', 'too_small', 'bad_aspect', 'stuck', 'encoder_failed'
    )) NOT VALID;
ALTER TABLE clipgres.job DROP CONSTRAINT job_known_reason_check;
ALTER TABLE clipgres.job ADD CONSTRAINT job_known_reason_check CHECK (reason IN (
        'bad_url', 'blocked_address', 'dns_failed', 'connection_refused', 'unreachable', 'tls_failed', 'timeout',
        'cut_short', 'bad_http', 'too_many_redirects', 'not_found', 'gone', 'forbidden', 'rate_limited',
        'server_error', 'http_status', 'not_an_image', 'truncated', 'broken_image', 'too_many_bytes',
        'too_many_pixels', 'too_small', 'bad_aspect', 'stuck', 'encoder_failed'
    )) NOT VALID;
