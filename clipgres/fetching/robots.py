"""robots.txt: what each origin asks of crawlers, asked once a day of each and remembered (RFC 9309)."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Event, Lock

from protego import Protego
from urllib3 import BaseHTTPResponse

from clipgres.errors import ImageError
from clipgres.fetching.errors import failure, foreign_errors_named
from clipgres.fetching.statuses import REDIRECTS, failure_of_status
from clipgres.fetching.transfer import current_transfer
from clipgres.fetching.transport import Transport, next_url, start_of_body
from clipgres.reasons import Reason
from clipgres.urls import NormalUrl, normalise_url

MAX_BYTES = 500_000
MAX_REDIRECTS = 5
REMEMBERED_S = 24 * 3_600.0
# A host that is away is not asked again for every one of its URLs, but before a third attempt at any of them.
FAILURE_REMEMBERED_S = 20.0
# What is remembered at once, in characters of rules; parsed they take about 30 times as much.
MEMORY_CHARS = 2_000_000
ORIGIN_CHARS = 100
# The page that says there is no robots.txt: read when short, so that its connection can be used again.
SHORT_BYTES = 64 * 1024

HEADERS = {"Accept": "text/plain,*/*;q=0.1"}

_AGENT = re.compile(r"user[\s-]*agent(?:\s*:|\s)", re.IGNORECASE)
_SITE_WIDE = re.compile(r"(?:site-?maps?|host)(?:\s*:|\s)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an origin said: rules of so many characters, no rule for us, or an error; and for how long that holds."""

    rules: Protego | None = None
    chars: int = 0
    error: ImageError | None = None
    holds_s: float = REMEMBERED_S


@dataclass(slots=True)
class _Entry:
    """An origin that is being asked, or that has answered."""

    answer: Answer = field(default_factory=Answer)
    ends_at: float = float("inf")
    is_settled: Event = field(default_factory=Event)

    @property
    def weight(self) -> int:
        return ORIGIN_CHARS + self.answer.chars


class Robots:
    """The rules of the origins lately asked; any number of threads may share one, and only the first of them asks."""

    def __init__(self, transport: Transport, token: str) -> None:
        """Speak for the crawler that site owners know as `token`."""
        self._transport = transport
        self._token = token
        self._lock = Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._weight = 0

    def check(self, url: NormalUrl) -> None:
        """Return if the URL may be fetched; its origin is asked first, within the current transfer, unless it was.

        Raises:
            PermanentImageError: the rules deny it, or nothing can be fetched from that origin.
            TransientImageError: the origin cannot say for now.
        """
        answer = self._answer(url.origin)
        if error := answer.error:
            # Each thread raises its own: a traceback grows with every raise.
            raise failure(error.reason, str(error), http_status=error.http_status, retry_after_s=error.retry_after_s)
        if answer.rules and not answer.rules.can_fetch(url.url, self._token):
            raise failure(Reason.ROBOTS_DENIED, f"{Reason.ROBOTS_DENIED.gloss}: {url.host}")

    def _answer(self, origin: str) -> Answer:
        with self._lock:
            entry = self._entries.get(origin)
            is_first = entry is None or entry.ends_at < time.monotonic()
            if entry is None or is_first:
                entry = self._begin(origin)
            self._entries.move_to_end(origin)
        if is_first:
            self._settle(origin, entry)
        elif not entry.is_settled.wait(current_transfer().wait_s(float("inf"))):
            raise failure(Reason.TIMEOUT, f"robots.txt: {origin} has not answered")
        return entry.answer

    def _begin(self, origin: str) -> _Entry:
        if outdated := self._entries.pop(origin, None):
            self._weight -= outdated.weight
        entry = self._entries[origin] = _Entry()
        self._weight += entry.weight
        return entry

    def _settle(self, origin: str, entry: _Entry) -> None:
        """Ask the origin, for all who wait for it, and forget those asked longest ago when there is too much."""
        answer = Answer(error=failure(Reason.STUCK, "robots.txt: not read to its end"), holds_s=0)
        try:
            answer = self._ask(origin)
        finally:
            with self._lock:
                if self._entries.get(origin) is entry:
                    self._weight += answer.chars
                entry.answer, entry.ends_at = answer, time.monotonic() + answer.holds_s
                while self._weight > MEMORY_CHARS:
                    self._weight -= self._entries.popitem(last=False)[1].weight
            entry.is_settled.set()

    def _ask(self, origin: str) -> Answer:
        transfer = current_transfer()
        # That a transfer which began long ago ran out of time says nothing about this origin.
        has_time = transfer.wait_s(float("inf")) > transfer.total_s / 2
        url = normalise_url(f"{origin}/robots.txt")
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with foreign_errors_named(), self._transport.get(url, HEADERS) as response:
                    if response.status not in REDIRECTS:
                        return self._read(response)
                    url = next_url(url, response)
        except ImageError as error:
            if error.reason is not Reason.REDIRECTS:
                return Answer(error=_named(error, url, origin), holds_s=FAILURE_REMEMBERED_S if has_time else 0)
        return Answer()

    def _read(self, response: BaseHTTPResponse) -> Answer:
        if response.status == 429 or response.status >= 500:
            raise failure_of_status(response)
        if 200 <= response.status <= 299:
            return answer_of(start_of_body(response, MAX_BYTES + 1), self._token)
        if response.length_remaining is not None and response.length_remaining <= SHORT_BYTES:
            start_of_body(response, SHORT_BYTES)
        return Answer()


def product_token(user_agent: str) -> str:
    """The name that site owners use for a crawler: what stands before the slash of its User-Agent."""
    return re.split(r"[/\s]", user_agent.strip(), maxsplit=1)[0].lower()


def answer_of(body: bytes, token: str) -> Answer:
    """Read a robots.txt, of which what lies beyond 500 kB does not count."""
    text = body[:MAX_BYTES].decode("utf-8-sig", "replace")
    if len(body) > MAX_BYTES:
        # Half a path would deny more than the whole one.
        text = text.rpartition("\n")[0]
    ours = relevant_lines(text, token)
    return Answer(Protego.parse(ours), len(ours)) if ours else Answer()


def relevant_lines(text: str, token: str) -> str:
    """Keep the groups that name us, exactly, or everyone.

    The library parses each rule of a group once for each of its names: 47 kB of names and rules would take it 7 s
    and 160 MB, 500 kB a hundred times that.
    """
    kept: list[str] = []
    is_ours = is_heading = False
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        if not line or _SITE_WIDE.match(line):
            continue
        if agent := _AGENT.match(line):
            name = line[agent.end() :].partition("/")[0].strip().lower()
            is_named = name in ("*", token)
            is_ours = is_named or (is_heading and is_ours)
            is_heading = True
            kept += [f"User-agent: {name}"] if is_named else []
        else:
            is_heading = False
            kept += [line] if is_ours else []
    return "\n".join(kept)


def _named(error: ImageError, url: NormalUrl, origin: str) -> ImageError:
    """Say that it was robots.txt that failed, but for an origin that nothing can be fetched from anyhow."""
    if url.origin == origin and not error.reason.is_transient:
        return error
    words = f"robots.txt: {error}"
    return failure(error.reason, words, http_status=error.http_status, retry_after_s=error.retry_after_s)
