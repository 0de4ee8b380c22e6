"""Answers `CALL clip_embed(...)`: makes the vectors of texts that are asked for in SQL.

A wish is a notification, and no record of it is kept: whoever asked waits for seconds only, and asks again every two of
them until the vector is there. So a worker that was away for a moment, or another one, serves it too.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import psycopg
from psycopg import Notify
from sqlalchemy import Connection, Engine, text

from clipgres.collections import find_by_id
from clipgres.database import autocommit, driver_connection, transaction
from clipgres.encoder import Encoder
from clipgres.errors import ClipgresError, ModelError
from clipgres.models import Space
from clipgres.text_vectors import TextVector, embed_texts, keep_text, model_key
from worker.models import Models
from worker.outage import Outage

log = logging.getLogger(__name__)

STOP_CHECK_S = 0.5
# How long it goes on reading what comes in before it answers.
READ_S = 1.0
RETRY_AFTER_S = 1.0
BATCH_TEXTS = 64

LISTEN_SQL = text("LISTEN clipgres_text")
# Held while it listens: `clip_embed` sees by it whether anybody does.
PRESENT_SQL = text("SELECT pg_advisory_lock_shared(hashtextextended('clipgres.answerer', 4715))")

# Every worker hears of a text, and one of them works on it.
CLAIM_SQL = text("""
    SELECT asked.text
    FROM unnest(CAST(:texts AS text[])) AS asked (text)
    WHERE NOT EXISTS (
        SELECT FROM clipgres.query_embedding q WHERE q.model = :model AND q.text_key = md5(asked.text)::uuid
    ) AND pg_try_advisory_xact_lock(hashtextextended(:model || ' ' || asked.text, 4716))
""")
REFUSE_SQL = text("""
    INSERT INTO clipgres.query_refusal (model, text_key, reason)
    VALUES (:model, CAST(md5(:text) AS uuid), :reason)
    ON CONFLICT (model, text_key) DO UPDATE SET reason = excluded.reason, refused_at = now()
""")
FORGET_REFUSALS_SQL = text("DELETE FROM clipgres.query_refusal WHERE refused_at < now() - interval '1 hour'")


@dataclass(frozen=True, slots=True)
class Wish:
    """A text somebody waits for, its white space single, and the collection in whose space."""

    collection_id: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """What answering needs."""

    engine: Engine
    models: Models

    def run(self, stopping: Event) -> None:
        """Answer until told to stop, through restarts of PostgreSQL."""
        outage = Outage(log, "the database, for texts that are asked for in SQL,")
        while not stopping.is_set():
            try:
                with self._session() as connection:
                    for wishes in _heard(connection, stopping):
                        outage.end()
                        self.answer(wishes)
            except ClipgresError as error:
                outage.begin(error)
                stopping.wait(RETRY_AFTER_S)

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A connection of its own, closed at the end: the lock goes with it."""
        with autocommit(self.engine) as connection:
            connection.execute(LISTEN_SQL)
            connection.execute(PRESENT_SQL)
            try:
                yield connection
            finally:
                connection.invalidate()

    def answer(self, wishes: Iterable[Wish]) -> None:
        """Give all of these texts their vectors, those of one model by one run of it."""
        for space, texts in self._by_space(wishes).items():
            encoder = self.models.encoder(space)
            if encoder is None:
                continue  # another worker may have the model that this one lacks
            for first in range(0, len(texts), BATCH_TEXTS):
                self._answer(encoder, space, texts[first : first + BATCH_TEXTS])

    def _by_space(self, wishes: Iterable[Wish]) -> dict[Space, list[str]]:
        texts: defaultdict[int, dict[str, None]] = defaultdict(dict)
        for wish in wishes:
            texts[wish.collection_id][wish.text] = None
        grouped: defaultdict[Space, dict[str, None]] = defaultdict(dict)
        with transaction(self.engine) as connection:
            for collection_id, asked in texts.items():
                if collection := find_by_id(connection, collection_id):
                    grouped[collection.space] |= asked
        return {space: list(asked) for space, asked in grouped.items()}

    def _answer(self, encoder: Encoder, space: Space, texts: Sequence[str]) -> None:
        model = model_key(space)
        with transaction(self.engine) as connection:
            claimed = connection.execute(CLAIM_SQL, {"texts": texts, "model": model}).scalars().all()
            for claimed_text, found in self._embedded(encoder, claimed).items():
                if found and not found.was_cut:
                    keep_text(connection, model, claimed_text, found.vector)
                else:
                    _refuse(connection, model, claimed_text, found)

    def _embedded(self, encoder: Encoder, texts: Sequence[str]) -> dict[str, TextVector | None]:
        if not texts:
            return {}
        try:
            return dict(zip(texts, embed_texts(encoder, texts), strict=True))
        except ModelError as error:
            self.models.give_up(encoder.space, error)
        except Exception:
            log.exception("a bug met %d texts asked for in SQL", len(texts))
        return {}


def _refuse(connection: Connection, model: str, refused: str, found: TextVector | None) -> None:
    reason = "it is longer than the model reads" if found else "the model gives no usable vector for it"
    connection.execute(REFUSE_SQL, {"model": model, "text": refused, "reason": reason})
    connection.execute(FORGET_REFUSALS_SQL)


def _heard(connection: Connection, stopping: Event) -> Iterator[list[Wish]]:
    """The wishes as they come, those together that came together; an empty list every moment that nobody asks.

    A session waits for one text at a time: of those that it sent the last counts, so that none keeps others waiting.
    """
    below = driver_connection(connection)
    while not stopping.is_set():
        latest = {notice.pid: notice.payload for notice in _notices(below)}
        yield [wish for wish in map(parse_wish, latest.values()) if wish]


def _notices(below: psycopg.Connection[Any]) -> Iterator[Notify]:
    """All that has come; waits a moment where nothing has."""
    timeout, ends = STOP_CHECK_S, time.monotonic() + READ_S
    while time.monotonic() < ends and (notices := list(below.notifies(timeout=timeout, stop_after=1))):
        yield from notices
        timeout = 0


def parse_wish(payload: str) -> Wish | None:
    """A notification's wish; None for what anyone else may have sent on our channel."""
    collection_id, _, wanted = payload.partition(" ")
    is_id = collection_id.isascii() and collection_id.isdigit() and len(collection_id) < 10
    return Wish(int(collection_id), wanted) if is_id and wanted.strip() else None
