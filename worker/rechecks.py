"""Looks at links again in the background: a few at a time, and only while no pictures wait to be embedded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event
from typing import Protocol

from clipgres.database import transaction
from clipgres.errors import ClipgresError, HostGivenUp, ImageError, TransientImageError, Unavailable
from clipgres.fetching import Fetched
from clipgres.images import SECONDS_A_DAY
from clipgres.reasons import Reason
from clipgres.rechecks import Due, Rechecked, claim_due, release_due, write_checks
from clipgres.schema import JobStatus
from clipgres.settings import Settings
from clipgres.writes import Facts, Outcome
from worker.host import LeftAlone, asked_for_s
from worker.line import Line
from worker.network import Network
from worker.outage import Outage
from worker.outcome import retry_delay_s
from worker.stages import facts_of
from worker.tools import Tools

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
DOWNLOADS = 4
CLAIMED = 16
# Long enough for all of a claim to be of one slow host.
LEASE_S = 900.0
TICK_S = 0.2
# What has not begun by then waits behind a slow host, and lets others pass.
ROUND_S = 60.0
PUT_BACK_S = 600.0
NOT_MODIFIED = 304
# Nobody waits for a second look at a link: its back-off is so many times that of a first fetch, five minutes at the
# usual settings and five hours before the last, so that it outlives most outages of a host.
PATIENCE = 60.0


class ConditionalFetch(Protocol):
    """How a URL is fetched unless it is unchanged, which is None; see `Fetcher.fetch_if_changed`."""

    def __call__(
        self, url: str, *, etag: str | None, last_modified: str | None, final_url: str | None
    ) -> Fetched | None: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a link found: what is there now, None where nothing has changed, or why it is not known.

    The fetch took `took_ms`, if there was one.
    """

    result: Facts | ImageError | LeftAlone | None
    took_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecker:
    """What looking at links again needs; `fetch` raises ImageErrors alone."""

    tools: Tools
    fetch: ConditionalFetch
    is_busy: Callable[[], bool]

    def run(self, stopping: Event) -> None:
        """Look at whatever is due until told to stop, through restarts of PostgreSQL."""
        outage = Outage(log, "the database")
        total = Rechecked()
        while not stopping.is_set():
            found = Rechecked()
            try:
                found = self.round(stopping)
                outage.end()
            except ClipgresError as error:
                outage.begin(error)
            total += found
            if found == Rechecked():
                if total != Rechecked():
                    log.info("links looked at again: %s", total)
                total = Rechecked()
                stopping.wait(LOOK_EVERY_S)

    def round(self, stopping: Event) -> Rechecked:
        """Look at a few of the links that are due, if it may be now."""
        room = 0 if self.is_busy() else self.tools.network.room(CLAIMED)
        if not room:
            return Rechecked()
        with transaction(self.tools.engine) as connection:
            due = claim_due(connection, limit=room, lease_s=LEASE_S)
        return self._look_at(due, stopping) if due else Rechecked()

    def _look_at(self, due: list[Due], stopping: Event) -> Rechecked:
        ended: SimpleQueue[tuple[Due, Seen]] = SimpleQueue()
        line = Line(lambda one: ended.put((one, self._look(one))), _host, threads=DOWNLOADS, per_host=1)
        line.add(due)
        left, written = set(due), Rechecked()
        deadline = time.monotonic() + ROUND_S
        try:
            while left and not stopping.is_set():
                if found := _gathered(ended):
                    written += self._write(found)
                    left -= found.keys()
                if time.monotonic() > deadline and (late := line.withdraw()):
                    self._give_back(dict.fromkeys(late, PUT_BACK_S))
                    left -= set(late)
            return written
        finally:
            line.close()
            self._give_back(dict.fromkeys(left, 0.0))

    def _look(self, due: Due) -> Seen:
        """Runs in the threads of the line."""
        breaker = self.tools.breaker
        if due.given_up:
            return Seen(HostGivenUp(due.given_up, f"{due.given_up.gloss}; the host is given up"))
        if stop := breaker.stop(due.host):
            return Seen(stop)
        began = time.monotonic()
        fetched = self._fetched(due)
        took_ms = round(1_000 * (time.monotonic() - began))
        result = self._decoded(due, fetched) if isinstance(fetched, Fetched) else fetched
        stop = breaker.note(due.host, result if isinstance(result, ImageError) else None)
        return Seen(stop or result, took_ms)

    def _fetched(self, due: Due) -> Fetched | ImageError | None:
        try:
            return self.fetch(due.url, etag=due.etag, last_modified=due.last_modified, final_url=due.final_url)
        except ImageError as error:
            return error
        except Exception as error:
            return _our_failure(due, error)

    def _decoded(self, due: Due, fetched: Fetched) -> Facts | ImageError:
        keeps = self.tools.settings.thumbnails
        try:
            return facts_of(fetched, self.tools.decoders.picture(fetched.body, None, thumbnail=keeps))
        except ImageError as error:
            return error
        except Exception as error:
            return _our_failure(due, error)

    def _write(self, found: Mapping[Due, Seen]) -> Rechecked:
        network, settings = self.tools.network, self.tools.settings
        self.tools.breaker.publish()
        for due, seen in found.items():
            if isinstance(seen.result, ImageError):
                network.note(due.host, seen.result)
            elif not isinstance(seen.result, LeftAlone):
                network.note_reply(due.host)
        self._give_back({due: seen.result.seconds for due, seen in found.items() if isinstance(seen.result, LeftAlone)})
        outcomes = {
            due: outcome_of_look(due, seen.result, seen.took_ms, network, settings)
            for due, seen in found.items()
            if not isinstance(seen.result, LeftAlone)
        }
        with transaction(self.tools.engine) as connection:
            return write_checks(connection, outcomes, recheck_days=settings.recheck_days)

    def _give_back(self, delays: Mapping[Due, float]) -> None:
        """Without the database they are due again once the lease has run out."""
        if delays:
            with suppress(Unavailable), transaction(self.tools.engine) as connection:
                release_due(connection, delays)


def outcome_of_look(
    due: Due, result: Facts | ImageError | None, took_ms: int | None, network: Network, settings: Settings
) -> Outcome:
    """What a look at a link means for it: as `outcome_of` for a job, with more patience.

    Neither a dead network nor a failure of this program (`stuck`) counts against it.
    """
    alive = Outcome(image_id=due.image_id, status=JobStatus.OK, took_ms=took_ms)
    if result is None:
        return replace(alive, http_status=NOT_MODIFIED)
    if isinstance(result, Facts):
        return replace(alive, facts=result)
    return _outcome_of_failure(due, replace(alive, http_status=result.http_status), result, network, settings)


def _outcome_of_failure(due: Due, seen: Outcome, error: ImageError, network: Network, settings: Settings) -> Outcome:
    dead = replace(seen, status=JobStatus.FAILED, reason=error.reason, detail=str(error))
    if isinstance(error, HostGivenUp):
        return replace(dead, is_counted=False)
    if error.reason is Reason.STUCK:
        return replace(dead, status=JobStatus.PENDING, delay_s=SECONDS_A_DAY, is_counted=False)
    if network.explains(due.host, error.reason):
        return replace(dead, status=JobStatus.PENDING, delay_s=PUT_BACK_S, is_counted=False)
    checks = due.failed_checks + 1
    if checks < error.reason.max_attempts:
        delay_s = max(retry_delay_s(checks, PATIENCE * settings.retry_base_s), asked_for_s(error))
        return replace(dead, status=JobStatus.PENDING, delay_s=delay_s)
    return dead


def _our_failure(due: Due, error: Exception) -> ImageError:
    log.error("image %d (%s) could not be looked at again", due.image_id, due.url, exc_info=error)
    return TransientImageError(Reason.STUCK, f"the program failed on it: {error}")


def _gathered(ended: SimpleQueue[tuple[Due, Seen]]) -> dict[Due, Seen]:
    """What has ended, after a moment's wait for the first."""
    found: dict[Due, Seen] = {}
    with suppress(Empty):
        found.update([ended.get(timeout=TICK_S)])
        while True:
            found.update([ended.get_nowait()])
    return found


def _host(due: Due) -> str:
    return due.host
