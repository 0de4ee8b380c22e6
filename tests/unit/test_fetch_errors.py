"""Foreign errors: every class that the network libraries know has a reason of its own choosing here."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest
from urllib3 import exceptions

from clipgres.errors import PermanentImageError, TransientImageError
from clipgres.fetching.errors import REASON_BY_ERROR, failure, failure_of
from clipgres.reasons import Reason

# Nothing here uses a proxy or uploads a body, and these two say how the library was called.
NEVER_RAISED = {
    exceptions.ProxyError,
    exceptions.ProxySchemeUnknown,
    exceptions.UnrewindableBodyError,
    exceptions.TimeoutStateError,
}


def test_every_error_of_urllib3_is_mapped() -> None:
    known = {
        each
        for each in vars(exceptions).values()
        if isinstance(each, type) and issubclass(each, exceptions.HTTPError) and not issubclass(each, Warning)
    }
    assert known - NEVER_RAISED <= set(REASON_BY_ERROR)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), Reason.DNS_FAILED),
        (ConnectionRefusedError(111, "Connection refused"), Reason.REFUSED),
        (ConnectionResetError(104, "Connection reset by peer"), Reason.CUT_SHORT),
        (OSError(101, "Network is unreachable"), Reason.UNREACHABLE),
        (TimeoutError(), Reason.TIMEOUT),
        (ssl.SSLCertVerificationError("expired"), Reason.TLS_FAILED),
        (ssl.SSLEOFError(8, "EOF"), Reason.CUT_SHORT),
        (http.client.RemoteDisconnected("closed"), Reason.CUT_SHORT),
        (http.client.BadStatusLine("SSH"), Reason.BAD_HTTP),
        (http.client.LineTooLong("header line"), Reason.BAD_HTTP),
        (exceptions.ProtocolError("aborted", http.client.BadStatusLine("SSH")), Reason.BAD_HTTP),
        (exceptions.ProtocolError("aborted", ConnectionResetError(104, "reset")), Reason.CUT_SHORT),
        (exceptions.ProtocolError("broken", exceptions.IncompleteRead(1, 2)), Reason.CUT_SHORT),
        (exceptions.SSLError(ssl.SSLCertVerificationError("wrong host")), Reason.TLS_FAILED),
    ],
)
def test_the_most_specific_cause_decides(error: Exception, reason: Reason) -> None:
    assert failure_of(error).reason is reason


def test_the_reason_decides_whether_it_is_tried_again() -> None:
    assert isinstance(failure(Reason.TIMEOUT), TransientImageError)
    assert isinstance(failure(Reason.GONE), PermanentImageError)


def test_the_text_is_one_short_line() -> None:
    text = str(failure_of(OSError("first\nsecond " + "x" * 1_000)))
    assert text.startswith("the host could not be reached: first second")
    assert len(text) < 300


@pytest.mark.parametrize("line", ["HTTP/1.1\x1b[2J 200", "\x9b31m", "\u202egnp.1 \x00"])
def test_no_word_of_a_host_moves_a_cursor(line: str) -> None:
    assert str(failure_of(http.client.BadStatusLine(line))).isprintable()
    assert str(failure(Reason.OPTED_OUT, line)).isprintable()
