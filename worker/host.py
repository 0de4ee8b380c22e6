"""One host as a worker process knows it: how often it failed in a row, and until when it is left alone."""

from __future__ import annotations

from dataclasses import dataclass

from clipgres.errors import HostGivenUp, ImageError
from clipgres.hosts import GIVEN_UP_TRIPS, Pause
from clipgres.jobs import Claimed
from clipgres.reasons import Reason

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
SHORTEST_WAIT_S, LONGEST_WAIT_S = 1.0, 3_600.0
LONGEST_PAUSE_S = 6 * 3_600.0
PROBES = 2
# While a few are tried, the others look again after so long.
PROBED_S = 5.0
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Not tried, or tried in vain, since its host is left alone for so many seconds more."""

    seconds: float


Stop = LeftAlone | HostGivenUp


@dataclass(slots=True)
class Host:
    """A host that failed or asked for time, by the clock of this process; `is_told` once the table says the same.

    `trips` counts the pauses in a row that it got for failing. While it is probed, a few jobs are let through.
    """

    failures: int = 0
    failing_since: float = NEVER
    trips: int = 0
    reason: Reason = Reason.TIMEOUT
    paused_until: float = NEVER
    probes_left: int = 0
    probing_until: float = NEVER
    is_told: bool = True

    def is_worth_a_try(self, now: float) -> bool:
        """Whether its pause for failing is over and nobody has tried since, as far as we know."""
        return self.trips > 0 and max(self.paused_until, self.probing_until) <= now

    def stop(self, now: float) -> Stop | None:
        """What stands against a fetch, if anything does."""
        if self.paused_until <= now:
            return None
        if self.trips >= GIVEN_UP_TRIPS:
            return HostGivenUp(self.reason, f"{self.reason.gloss}, again and again: it is given up for now")
        return LeftAlone(self.paused_until - now)

    def admission(self, now: float) -> Stop | None:
        """What stands against a job that was just claimed; what is let through is one probe less."""
        if self.probing_until <= now:
            return self.stop(now)
        if self.probes_left:
            self.probes_left -= 1
            return None
        return LeftAlone(min(self.probing_until - now, PROBED_S))

    def learn(self, job: Claimed, now: float) -> None:
        """Take over what the table says."""
        self.trips = job.host_trips
        self.reason = Reason.stored_as(job.host_reason) if job.host_reason else self.reason
        self.paused_until = now + job.host_paused_s

    def probe(self, until: float, *, is_ours: bool) -> None:
        """Let a few jobs through, or wait for what comes of those of another worker; one given up is so no longer."""
        self.trips = min(self.trips, GIVEN_UP_TRIPS - 1)
        self.paused_until = NEVER if is_ours else until
        if is_ours:
            self.probes_left, self.probing_until = PROBES, until

    def rest(self, error: ImageError, now: float) -> None:
        """Leave it alone for as long as it asks."""
        self.reason = error.reason
        self.paused_until = max(self.paused_until, now + asked_for_s(error))

    def trip(self, error: ImageError, first_pause_s: float, now: float) -> float:
        """Leave it alone for having failed, four times as long each time; returns for how long."""
        self.trips += 1
        seconds = max(pause_s(self.trips, first_pause_s), asked_for_s(error))
        self.reason = error.reason
        self.paused_until = now + seconds
        self.failing_since, self.probing_until = now, NEVER
        return seconds

    def told(self, pause: Pause | None, now: float) -> None:
        """Note that the table says the same, or knows better how long the pause is."""
        self.is_told = True
        if pause is not None:
            self.trips, self.paused_until = pause.trips, now + pause.seconds


def pause_s(trips: int, first_pause_s: float) -> float:
    """How long the `trips`-th pause in a row is for a host that fails."""
    return min(first_pause_s * 4.0 ** (trips - 1), LONGEST_PAUSE_S)


def asked_for_s(error: ImageError) -> float:
    """How long its host asks to be left alone: a second at least and an hour at most, or not at all."""
    asks = error.http_status == TOO_MANY_REQUESTS
    if asks or (error.http_status == UNAVAILABLE and error.retry_after_s is not None):
        return min(max(error.retry_after_s or 0, SHORTEST_WAIT_S), LONGEST_WAIT_S)
    return 0
