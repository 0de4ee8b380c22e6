"""What fetching says of an image: whether it is there, what it is, and when it is looked at again."""

from __future__ import annotations

from sqlalchemy import Connection, text

from clipgres import attempts, placeholders

SECONDS_A_DAY = 86_400
# What is found the same again and again is looked at ever more rarely, down to an eighth as often; a dead link, which
# may be a mistake of its host's, four times as often. The tenth of jitter spreads what was imported at once.
NEXT_CHECK_SQL = """
    now() + make_interval(secs => nullif(:recheck_s, 0) {share} * power(2, least({same}, 3)) * (0.9 + 0.2 * random()))
"""
SAME_BYTES_SQL = "CASE WHEN im.is_valid AND im.sha256 = o.sha256 THEN least(im.same_checks + 1, 9999) ELSE 0 END"
SAME_END_SQL = "CASE WHEN im.reason = o.reason THEN least(im.same_checks + 1, 9999) ELSE 0 END"
ALIVE_SQL = text(f"""
    UPDATE clipgres.image im
    SET state = 'ok', reason = NULL, http_status = o.http_status, content_type = o.content_type, etag = o.etag,
        last_modified = o.last_modified, final_url = o.final_url, x_robots_tag = o.x_robots_tag,
        bytes = o.bytes, width = o.width, height = o.height, sha256 = o.sha256, phash = o.phash,
        changed_at = CASE WHEN im.sha256 <> o.sha256 THEN now() ELSE im.changed_at END,
        first_seen_alive = coalesce(im.first_seen_alive, now()), last_seen_alive = now(), checked_at = now(),
        same_checks = {SAME_BYTES_SQL}, failed_checks = 0,
        next_check = {NEXT_CHECK_SQL.format(share="", same=SAME_BYTES_SQL)}
    FROM outcome o
    WHERE im.id = o.image_id AND o.is_alive
""")  # noqa: S608
DEAD_SQL = text(f"""
    UPDATE clipgres.image im
    SET state = 'failed', reason = o.reason, http_status = o.http_status, checked_at = now(),
        same_checks = {SAME_END_SQL}, failed_checks = 0,
        next_check = {NEXT_CHECK_SQL.format(share="/ 4", same=SAME_END_SQL)}
    FROM outcome o
    WHERE im.id = o.image_id AND o.status = 'failed' AND NOT o.is_alive AND o.reason <> 'encoder_failed'
""")  # noqa: S608
THUMBNAIL_SQL = text("""
    INSERT INTO clipgres.thumbnail (image_id, webp)
    SELECT image_id, webp FROM outcome WHERE webp IS NOT NULL ORDER BY image_id
    ON CONFLICT (image_id) DO UPDATE SET webp = excluded.webp
    WHERE thumbnail.webp IS DISTINCT FROM excluded.webp
""")
# Where no thumbnail was made this time, the one of other bytes is not left to stand for these.
STALE_THUMBNAIL_SQL = text("""
    DELETE FROM clipgres.thumbnail t
    USING outcome o, clipgres.image im
    WHERE t.image_id = o.image_id AND im.id = o.image_id AND o.is_alive AND o.webp IS NULL AND im.sha256 <> o.sha256
""")


def write_images(connection: Connection, *, recheck_days: float) -> None:
    """Record what the staged outcomes say of their images: alive or dead, the thumbnail, the history."""
    schedule = {"recheck_s": recheck_days * SECONDS_A_DAY}
    connection.execute(STALE_THUMBNAIL_SQL)
    connection.execute(ALIVE_SQL, schedule)
    connection.execute(DEAD_SQL, schedule)
    placeholders.mark_images(connection)
    connection.execute(THUMBNAIL_SQL)
    attempts.record(connection)
