"""Which hosts to leave alone: those that ask for time, and those that fail again and again.

What one process learns it publishes in the table `clipgres.host`, where the claims of all workers find it. Each pause
of a host that fails is four times as long as the last; after it a few of its jobs are let through first, and a reply
ends it all. The jobs that wait are not tried, so it counts for none of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock

from sqlalchemy import Connection, Engine

from clipgres import hosts
from clipgres.database import transaction
from clipgres.errors import ImageError, Unavailable
from clipgres.hosts import Pause
from clipgres.jobs import Claimed
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.wording import duration
from worker.host import Host, LeftAlone, Stop, asked_for_s, pause_s
from worker.network import NO_REPLY, PROOF_S, Network

log = logging.getLogger(__name__)

FAILURES = frozenset({
    Reason.DNS_FAILED, Reason.REFUSED, Reason.UNREACHABLE, Reason.TIMEOUT, Reason.CUT_SHORT, Reason.SERVER_ERROR,
    Reason.RATE_LIMITED, Reason.TLS_FAILED, Reason.FORBIDDEN, Reason.BAD_HTTP,
})  # fmt: skip
# In units of the first back-off: a minute at the usual settings.
FIRST_PAUSE = 12
# Longer than a fetch may take.
PROBING_S = 45.0
# How many hosts are remembered that failed lately, but not often enough.
MOST_REMEMBERED = 50_000


class Breaker:
    """What one worker process knows of hosts to be left alone; shared by its threads."""

    def __init__(self, engine: Engine, network: Network, settings: Settings) -> None:
        self._engine = engine
        self._network = network
        self._failures = settings.host_failures
        self._first_pause_s = FIRST_PAUSE * settings.retry_base_s
        self._lock = Lock()
        self._hosts: dict[str, Host] = {}
        self._changed: set[str] = set()

    def look(self, jobs: Sequence[Claimed]) -> dict[int, Stop]:
        """What stands against fetching which of the jobs that were just claimed, by image id.

        Raises:
            Unavailable: the database is away, and one of the hosts may be worth another try.
        """
        fetched = [job for job in jobs if job.thumbnail is None]
        with self._lock:
            now = time.monotonic()
            for job in fetched:
                self._learn(job, now)
            known = {job.host: self._hosts[job.host] for job in fetched if job.host in self._hosts}
            worth_a_try = sorted(name for name, host in known.items() if host.is_worth_a_try(now))
        if worth_a_try:
            self._begin_probes(worth_a_try)
        with self._lock:
            now = time.monotonic()
            stops = {job.image_id: known[job.host].admission(now) for job in fetched if job.host in known}
        return {image: stop for image, stop in stops.items() if stop}

    def stop(self, name: str) -> Stop | None:
        """What stands by now against a fetch that was let through before."""
        now = time.monotonic()
        host = self._hosts.get(name)
        return host.stop(now) if host and host.probing_until <= now else None

    def note(self, name: str, error: ImageError | None) -> Stop | None:
        """Note what came of a fetch; what is returned is to be done with its job instead of counting the attempt."""
        with self._lock:
            now = time.monotonic()
            if error is None or error.reason not in FAILURES | NO_REPLY:
                self._note_reply(name, now)
            # What the network may explain says nothing of the host.
            elif error.reason in FAILURES and self._network.has_witness(name, error.reason, since=now - PROOF_S):
                host = self._hosts.get(name) or self._remember(name, now)
                if host.trips:
                    return self._note_failure_again(name, host, error, now)
                self._note_failure(name, host, error, now)
            return None

    def publish(self) -> None:
        """Tell the other workers what has changed; without the database they are told later."""
        if not self._changed:
            return
        with self._lock:
            changed, self._changed = self._changed, set()
            changes = {name: self._change(name) for name in sorted(changed)}
        try:
            with transaction(self._engine) as connection:
                pauses = {name: change(connection) for name, change in changes.items()}
        except Unavailable:
            with self._lock:
                self._changed |= changed
            return
        with self._lock:
            now = time.monotonic()
            for name in changed - self._changed:
                pause, host = pauses[name], self._hosts.get(name)
                if pause and pause.is_for_good:
                    log.warning("the host %s is given up for %s", name, duration(pause.seconds))
                if host:
                    host.told(pause, now)

    def _learn(self, job: Claimed, now: float) -> None:
        """Take over what the table says of a host, unless it has yet to hear from us."""
        host = self._hosts.get(job.host)
        if host and (not host.is_told or host.probing_until > now):
            return
        if job.host_trips or job.host_paused_s:
            (host or self._remember(job.host, now)).learn(job, now)
        elif host and (host.trips or host.paused_until > now):
            del self._hosts[job.host]

    def _begin_probes(self, names: Sequence[str]) -> None:
        with transaction(self._engine) as connection:
            ours = hosts.begin_probes(connection, names, seconds=PROBING_S)
        with self._lock:
            until = time.monotonic() + PROBING_S
            for name in names:
                if name in self._hosts:
                    self._hosts[name].probe(until, is_ours=name in ours)

    def _note_reply(self, name: str, now: float) -> None:
        host = self._hosts.get(name)
        if host is None:
            return
        if host.trips:
            log.warning("the host %s is back", name)
            self._changed.add(name)
        if host.trips or host.paused_until <= now:
            del self._hosts[name]
        else:
            host.failures = 0

    def _note_failure(self, name: str, host: Host, error: ImageError, now: float) -> None:
        """One more failure in a row; while no other host replies it may be the network after all."""
        host.failing_since = host.failing_since if host.failures else now
        host.failures += 1
        is_witnessed = self._network.has_witness(name, error.reason, since=host.failing_since)
        if host.failures >= self._failures and is_witnessed:
            self._trip(name, host, error, now)
        elif asked_for_s(error):
            host.rest(error, now)
            self._tell(name, host)

    def _note_failure_again(self, name: str, host: Host, error: ImageError, now: float) -> Stop | None:
        """A probe that failed; what else was under way when the host was tripped says nothing new.

        Either is given back at once: the next claim knows for how long the host is left alone by then.
        """
        if host.paused_until <= now and self._network.has_witness(name, error.reason, since=host.failing_since):
            self._trip(name, host, error, now)
        return LeftAlone(0) if host.paused_until > now else None

    def _trip(self, name: str, host: Host, error: ImageError, now: float) -> None:
        seconds = host.trip(error, self._first_pause_s, now)
        if host.trips == 1:
            log.warning("the host %s is left alone for %s: %s", name, duration(seconds), error)
        self._tell(name, host)

    def _tell(self, name: str, host: Host) -> None:
        host.is_told = False
        self._changed.add(name)

    def _remember(self, name: str, now: float) -> Host:
        if len(self._hosts) >= MOST_REMEMBERED:
            self._hosts = {each: host for each, host in self._hosts.items() if host.trips or host.paused_until > now}
        return self._hosts.setdefault(name, Host())

    def _change(self, name: str) -> Callable[[Connection], Pause | None]:
        """What to say to the table of how a host stands at this moment."""
        host = self._hosts.get(name)
        if host is None:
            return partial(hosts.answered, name=name)
        seconds = max(host.paused_until - time.monotonic(), 0.0)
        if host.trips:
            return partial(
                hosts.trip,
                name=name,
                reason=host.reason,
                trips=host.trips,
                seconds=seconds,
                given_up_s=pause_s(hosts.GIVEN_UP_TRIPS, self._first_pause_s),
            )
        return partial(hosts.pause, name=name, reason=host.reason, seconds=seconds)
