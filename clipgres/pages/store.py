"""What later pages of a search need, kept in Redis for a quarter of an hour: the search, and its ranking."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis import Redis
from redis.exceptions import RedisError

from clipgres.errors import BadRequest, Unavailable

log = logging.getLogger(__name__)

PREFIX = "clipgres:pages:"
SECRET = f"{PREFIX}secret"
KEPT_MS = 15 * 60 * 1000
# A server that is away costs one search its patience, not every search.
PAUSE_S = 5
# What is kept of a ranking begins with the place of its rows, in this many digits.
PLACE_DIGITS = 8

# The ranked rows as the database packs them: its numbers are big-endian.
RANKED_ROW = np.dtype([("id", ">i8"), ("distance", ">f4")])
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a search: its request without pictures and vectors, and what its first answer said of itself."""

    collection_id: int
    request: dict[str, Any]
    fingerprint: str
    matched: int
    matched_is_exact: bool
    text_was_cut: bool
    fused: Sequence[str] = ()
    ranked: int = 0
    """How many rows the ranking has."""
    is_cut: bool = False
    """A limit ended the ranking: more rows may follow its last."""
    index: str | None = None
    """The index that gave the ranking, if one did."""
    folded: int = 0
    """How many rows the ranking passes over since one of their group stands before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPage:
    """What the ranking of later pages goes on from; without a vector, that is made anew from the text.

    `passed` are the groups that were on it or are left out, where groups are folded.
    """

    shown: Ids
    left_out: Ids
    passed: Ids
    vector: bytes = b""
    age_ms: int = 0
    """How long ago the first page was answered."""


class PageStore:
    """Keeps searches and rankings in a Redis, or nothing where there is none; safe for many threads."""

    def __init__(self, redis: Redis | None) -> None:
        self._given = redis
        self._quiet_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a Redis, and it did not fail just now."""
        return self._given is not None and time.monotonic() >= self._quiet_until

    def keep(self, kept: Kept, first: FirstPage) -> tuple[str, bytes] | None:
        """Keep a search; returns its name and the secret that signs its cursors, or None where no Redis takes it."""
        name = secrets.token_urlsafe(12)
        parts = {"shown": first.shown, "left_out": first.left_out, "passed": first.passed}
        head = {"kept": asdict(kept), **{part: len(ids) for part, ids in parts.items()}}
        body = b"".join(ids.tobytes() for ids in parts.values()) + first.vector
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(SECRET, secrets.token_bytes(32), nx=True)
                pipeline.get(SECRET)
                pipeline.set(_search_key(name), _line(head) + body, px=KEPT_MS)
                _, secret, _ = pipeline.execute()
        except RedisError as error:
            if not self._quiet_until:
                log.warning("searches have no further pages, since Redis does not take what they need: %s", error)
            self._quiet_until = time.monotonic() + PAUSE_S
            return None
        self._quiet_until = 0.0
        return name, secret

    def secret(self) -> bytes:
        """The secret that signs cursors.

        Raises:
            BadRequest: there is none any more, and with it went the searches.
            Unavailable: Redis is away.
        """
        with _available():
            secret: bytes | None = self._redis.get(SECRET)  # type: ignore[assignment]
        if secret is None:
            raise gone()
        return secret

    def first_page(self, name: str) -> tuple[Kept, FirstPage]:
        """A search that was kept.

        Raises:
            BadRequest: it is gone.
            Unavailable: Redis is away.
        """
        with _available(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.get(_search_key(name))
            pipeline.pttl(_search_key(name))
            value, left_ms = pipeline.execute()
        if value is None:
            raise gone()
        line, _, body = value.partition(b"\n")
        head = json.loads(line)
        ends = np.cumsum([head["shown"], head["left_out"], head["passed"]])
        numbers = np.frombuffer(body, np.int64, ends[-1])
        shown, left_out, passed, _ = np.split(numbers, ends)
        first = FirstPage(
            shown=shown,
            left_out=left_out,
            passed=passed,
            vector=body[numbers.nbytes :],
            age_ms=KEPT_MS
            - left_ms
            - 1,  # the server's clock counts whole milliseconds: rather too late than too early
        )
        return Kept(**head["kept"]), first

    def keep_ranking(self, name: str, kept: Kept, vector: bytes, rows: bytes) -> int:
        """Keep the ranking of a search, unless one was kept meanwhile; returns where the rows stand in the kept one.

        Raises:
            Unavailable: Redis is away, or full.
        """
        head = _line(asdict(kept)) + vector
        value = b"%0*d" % (PLACE_DIGITS, PLACE_DIGITS + len(head)) + head + rows
        with _available():
            self._redis.set(_ranking_key(name), value, px=KEPT_MS, nx=True)
        rows_at = self.rows_at(name)
        if not rows_at:
            raise gone()
        return rows_at

    def rows_at(self, name: str) -> int:
        """Where the rows stand in what is kept of a ranking; 0 while there is none.

        Raises:
            Unavailable: Redis is away.
        """
        with _available():
            return int(self._redis.getrange(_ranking_key(name), 0, PLACE_DIGITS - 1) or 0)

    def ranking(self, name: str, rows_at: int) -> tuple[Kept, bytes]:
        """What a ranking says of its search, and the query's vector; it is kept on for as long again.

        Raises:
            BadRequest: it is gone.
            Unavailable: Redis is away.
        """
        with _available(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.getrange(_ranking_key(name), 0, rows_at - 1)
            pipeline.pexpire(_ranking_key(name), KEPT_MS)
            head, _ = pipeline.execute()
        # A Redis that is short of memory may have dropped a ranking, of which another was made since.
        if not head or int(head[:PLACE_DIGITS]) != rows_at:
            raise gone()
        line, _, vector = head[PLACE_DIGITS:].partition(b"\n")
        return Kept(**json.loads(line)), vector

    def ranked_rows(self, name: str, rows_at: int, place: int, count: int) -> tuple[list[int], list[float]]:
        """The ids and distances of `count` rows of a ranking, from `place` on.

        Raises:
            BadRequest: it is gone.
            Unavailable: Redis is away.
        """
        start = rows_at + place * RANKED_ROW.itemsize
        with _available():
            value: bytes = self._redis.getrange(  # type: ignore[assignment]
                _ranking_key(name), start, start + count * RANKED_ROW.itemsize - 1
            )
        if not value:
            raise gone()
        rows = np.frombuffer(value, RANKED_ROW)
        return rows["id"].tolist(), rows["distance"].tolist()

    @property
    def _redis(self) -> Redis:
        if self._given is None:
            raise BadRequest("cursor: there are no further pages here, since there is no Redis to keep them", "cursor")
        return self._given


def gone() -> BadRequest:
    """The error that ends the pages of a search."""
    return BadRequest("cursor: the pages of this search are gone after 15 minutes: search again", "cursor")


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable(f"Redis, which keeps the further pages of searches, cannot answer now: {error}") from error


def _line(head: dict[str, Any]) -> bytes:
    return json.dumps(head, separators=(",", ":")).encode() + b"\n"


def _search_key(name: str) -> str:
    return f"{PREFIX}search:{name}"


def _ranking_key(name: str) -> str:
    return f"{PREFIX}ranking:{name}"
