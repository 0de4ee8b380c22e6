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

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        return _ADVICE[self]


_LATER = "Their links are looked at again by themselves; retry them once the host works."
_NO_USE = "Nothing to mend here: ignore them. Their links are still looked at now and then."
_YOURS = "Look at one in a browser, and mend the address in your list."
_LOG = "Retry them; if that does not help, the worker's log says more, and `clipgres doctor` looks at the model."

_ADVICE = {
    Reason.BAD_URL: _YOURS,
    Reason.BLOCKED_ADDRESS: "If the host is yours, name its network in CLIPGRES_FETCH_ALLOW and retry.",
    Reason.DNS_FAILED: "The name may be gone for good. Retry if you know that it is back, else ignore them.",
    Reason.REFUSED: _LATER,
    Reason.UNREACHABLE: _LATER,
    Reason.TLS_FAILED: "The host's certificate is too old, or not its own. Ask the host; nothing here looks past it.",
    Reason.TIMEOUT: "Retry them; for a slow host, raise CLIPGRES_FETCH_TOTAL_TIMEOUT_S first.",
    Reason.CUT_SHORT: _LATER,
    Reason.BAD_HTTP: _LATER,
    Reason.REDIRECTS: "Look at one in a browser; CLIPGRES_FETCH_MAX_REDIRECTS says how many are followed.",
    Reason.NOT_FOUND: _NO_USE,
    Reason.GONE: _NO_USE,
    Reason.FORBIDDEN: "Ask the host, and say who you are in CLIPGRES_FETCH_USER_AGENT; or ignore them.",
    Reason.RATE_LIMITED: "They come back by themselves, slowly; retry them tomorrow if you cannot wait.",
    Reason.SERVER_ERROR: _LATER,
    Reason.HTTP_STATUS: "Look at one in a browser: the host gives something else than a picture.",
    Reason.ROBOTS_DENIED: "Ask the host. Only if it is yours, set CLIPGRES_FETCH_ROBOTS to false and retry.",
    Reason.OPTED_OUT: "The host's wish: ignore them, or ask the host. CLIPGRES_FETCH_OPT_OUT says what counts as one.",
    Reason.NOT_AN_IMAGE: "Look at one in a browser: most are web pages. JPEG, PNG, GIF, WebP and AVIF are read.",
    Reason.TRUNCATED: "Retry them once: the transfer may have been cut. Else the file is: ignore them.",
    Reason.BROKEN_IMAGE: "The file itself is damaged: ignore them, or ask the host.",
    Reason.TOO_MANY_BYTES: "To take them, raise CLIPGRES_FETCH_MAX_BYTES and retry.",
    Reason.TOO_MANY_PIXELS: "To take them, raise CLIPGRES_IMAGE_MAX_PIXELS or CLIPGRES_IMAGE_MAX_SIDE and retry.",
    Reason.TOO_SMALL: "To take them, lower CLIPGRES_IMAGE_MIN_SIDE and retry.",
    Reason.BAD_ASPECT: "To take them, raise CLIPGRES_IMAGE_MAX_ASPECT and retry.",
    Reason.PLACEHOLDER: _NO_USE,
    Reason.DECODER_FAILED: "Raise CLIPGRES_DECODE_TIMEOUT_S or CLIPGRES_DECODE_MAX_MEMORY and retry; report a crash.",
    Reason.STUCK: _LOG,
    Reason.ENCODER_FAILED: _LOG,
}
