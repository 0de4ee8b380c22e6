"""The closed list of reasons why a URL has no embedding, each with the words a person reads."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a URL failed. The value is stored; `gloss` is shown."""

    gloss: str
    max_attempts: int
    needs_network_witness: bool

    def __new__(cls, value: str, gloss: str, max_attempts: int = 1, network: bool = False) -> Reason:
        """Make a member; `max_attempts` above 1 marks it transient, `network` one that a dead network also causes."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.gloss = gloss
        member.max_attempts = max_attempts
        member.needs_network_witness = network
        return member

    BAD_URL = "bad_url", "the URL is not one that can be fetched"
    BLOCKED_ADDRESS = "blocked_address", "the address is private, local or reserved"
    DNS_FAILED = "dns_failed", "the host name could not be resolved", 5, True
    REFUSED = "connection_refused", "the host refused the connection", 3
    UNREACHABLE = "unreachable", "the host could not be reached", 5, True
    TLS_FAILED = "tls_failed", "the secure connection could not be verified"
    TIMEOUT = "timeout", "the host took too long", 5, True
    CUT_SHORT = "cut_short", "the connection broke before the end", 5
    BAD_HTTP = "bad_http", "the reply is not HTTP that can be understood", 3
    REDIRECTS = "too_many_redirects", "too many redirects, or one that leads nowhere"
    NOT_FOUND = "not_found", "the host says it is not there (404)"
    GONE = "gone", "the host says it is gone for good (410)"
    FORBIDDEN = "forbidden", "the host does not give it to us (401, 403, 451)"
    RATE_LIMITED = "rate_limited", "the host asks to come back later (429)", 5
    SERVER_ERROR = "server_error", "the host failed (5xx)", 5
    HTTP_STATUS = "http_status", "the host answered with another status than 200"
    ROBOTS_DENIED = "robots_denied", "the host's robots.txt asks not to fetch it"
    OPTED_OUT = "opted_out", "the host asks that it is not used for AI (X-Robots-Tag)"
    NOT_AN_IMAGE = "not_an_image", "what came back is not a picture of a known format"
    TRUNCATED = "truncated", "the picture ends before its end"
    BROKEN_IMAGE = "broken_image", "the picture cannot be decoded"
    TOO_MANY_BYTES = "too_many_bytes", "the file is larger than the limit"
    TOO_MANY_PIXELS = "too_many_pixels", "the picture has more pixels than the limit"
    TOO_SMALL = "too_small", "the picture is smaller than the limit"
    BAD_ASPECT = "bad_aspect", "the picture is too long and thin"
    PLACEHOLDER = "placeholder", "the picture only says that there is none"
    DECODER_FAILED = "decoder_failed", "the decoder crashed, hung or ran out of memory on it", 3
    STUCK = "stuck", "it took longer than a batch may last", 3
    ENCODER_FAILED = "encoder_failed", "the model gave no usable vector for it", 3

    @classmethod
    def stored_as(cls, value: str) -> Reason:
        """The reason that the database holds as `value`."""
        return next(reason for reason in cls if reason == value)

    @property
    def is_transient(self) -> bool:
        """Whether a later attempt may succeed."""
        return self.max_attempts > 1
