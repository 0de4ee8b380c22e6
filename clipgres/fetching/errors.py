"""The one place where a foreign network error becomes an ImageError with a reason of the closed list."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from urllib3 import exceptions as urllib3

from clipgres.errors import ImageError, PermanentImageError, TransientImageError
from clipgres.plain_text import printable
from clipgres.reasons import Reason

DETAIL_MAX_CHARS = 200

# Looked up along the class's line of descent: the most specific entry wins.
REASON_BY_ERROR: dict[type[BaseException], Reason] = {
    OSError: Reason.UNREACHABLE,
    TimeoutError: Reason.TIMEOUT,
    ConnectionError: Reason.CUT_SHORT,
    ConnectionRefusedError: Reason.REFUSED,
    socket.gaierror: Reason.DNS_FAILED,
    UnicodeError: Reason.DNS_FAILED,
    ValueError: Reason.BAD_HTTP,
    ssl.SSLError: Reason.TLS_FAILED,
    ssl.SSLEOFError: Reason.CUT_SHORT,
    ssl.SSLZeroReturnError: Reason.CUT_SHORT,
    http.client.HTTPException: Reason.BAD_HTTP,
    http.client.IncompleteRead: Reason.CUT_SHORT,
    urllib3.HTTPError: Reason.BAD_HTTP,
    urllib3.SSLError: Reason.TLS_FAILED,
    urllib3.TimeoutError: Reason.TIMEOUT,
    urllib3.ReadTimeoutError: Reason.TIMEOUT,
    urllib3.ConnectTimeoutError: Reason.TIMEOUT,
    urllib3.NewConnectionError: Reason.UNREACHABLE,
    urllib3.NameResolutionError: Reason.DNS_FAILED,
    urllib3.ProtocolError: Reason.CUT_SHORT,
    urllib3.IncompleteRead: Reason.CUT_SHORT,
    urllib3.InvalidChunkLength: Reason.BAD_HTTP,
    urllib3.ResponseNotChunked: Reason.BAD_HTTP,
    urllib3.BodyNotHttplibCompatible: Reason.BAD_HTTP,
    urllib3.DecodeError: Reason.BAD_HTTP,
    urllib3.InvalidHeader: Reason.BAD_HTTP,
    urllib3.HeaderParsingError: Reason.BAD_HTTP,
    urllib3.ResponseError: Reason.BAD_HTTP,
    urllib3.LocationValueError: Reason.BAD_URL,
    urllib3.LocationParseError: Reason.BAD_URL,
    urllib3.URLSchemeUnknown: Reason.BAD_URL,
    urllib3.HostChangedError: Reason.BAD_URL,
    urllib3.PoolError: Reason.CUT_SHORT,
    urllib3.RequestError: Reason.CUT_SHORT,
    urllib3.EmptyPoolError: Reason.CUT_SHORT,
    urllib3.FullPoolError: Reason.CUT_SHORT,
    urllib3.ClosedPoolError: Reason.CUT_SHORT,
    urllib3.MaxRetryError: Reason.UNREACHABLE,
}
FOREIGN_ERRORS = (OSError, ValueError, http.client.HTTPException, urllib3.HTTPError)


def failure(
    reason: Reason, detail: str = "", *, http_status: int | None = None, retry_after_s: float | None = None
) -> ImageError:
    """Make the permanent or transient error that this reason is; its words may be a stranger's, and reach logs."""
    kind = TransientImageError if reason.is_transient else PermanentImageError
    return kind(reason, printable(detail), http_status=http_status, retry_after_s=retry_after_s)


def failure_of(error: BaseException) -> ImageError:
    """Make the error that a foreign one stands for; its words come along where they add something."""
    cause = _innermost(error)
    reason = reason_of(cause)
    words = "" if reason is Reason.TIMEOUT else " ".join(str(cause).split())[:DETAIL_MAX_CHARS]
    return failure(reason, f"{reason.gloss}: {words}" if words else "")


@contextmanager
def foreign_errors_named() -> Iterator[None]:
    """Turn a foreign error of the block into the ImageError that it stands for."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        raise failure_of(error) from error


def reason_of(error: BaseException) -> Reason:
    """Find the reason of an exception class that was let in; a KeyError is a class that was not."""
    return next(REASON_BY_ERROR[each] for each in type(error).__mro__ if each in REASON_BY_ERROR)


def _innermost(error: BaseException) -> BaseException:
    """Unwrap what urllib3 carries inside its protocol and TLS errors."""
    if isinstance(error, (urllib3.ProtocolError, urllib3.SSLError)):
        for inner in error.args:
            if isinstance(inner, BaseException):
                return _innermost(inner)
    return error
