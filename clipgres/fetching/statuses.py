"""What the status of a reply means: a redirect, or a failure for a reason of the closed list."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from urllib3 import BaseHTTPResponse

from clipgres.errors import ImageError
from clipgres.fetching.errors import failure
from clipgres.reasons import Reason

RETRY_AFTER_MAX_S = 3_600.0

PERMANENT_REDIRECTS = frozenset({301, 308})
REDIRECTS = frozenset({302, 303, 307}) | PERMANENT_REDIRECTS

_REASON_BY_STATUS = {
    401: Reason.FORBIDDEN,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    429: Reason.RATE_LIMITED,
    451: Reason.FORBIDDEN,
}


def failure_of_status(response: BaseHTTPResponse) -> ImageError:
    """Make the error that a status other than 200 stands for."""
    status = response.status
    fallback = Reason.SERVER_ERROR if 500 <= status <= 599 else Reason.HTTP_STATUS
    reason = _REASON_BY_STATUS.get(status, fallback)
    wait = retry_after_s(response.headers.get("Retry-After")) if status in (429, 503) else None
    words = reason.gloss if f"({status})" in reason.gloss else f"{reason.gloss}: HTTP {status}"
    return failure(reason, words, http_status=status, retry_after_s=wait)


def retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header (seconds or a date) as seconds, at most an hour; None: absent or garbage."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        when = parsedate_to_datetime(text)
        wait = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), RETRY_AFTER_MAX_S)
