"""What a failure means for a job: the end, another attempt after a while, or no attempt at all."""

from __future__ import annotations

import random
from dataclasses import replace

from clipgres.errors import HostGivenUp, ImageError, TransientImageError
from clipgres.jobs import Claimed
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from clipgres.settings import Settings
from clipgres.writes import Facts, Outcome
from worker.host import asked_for_s
from worker.network import Network
from worker.stages import Embedded

Result = Embedded | ImageError

HELD_FIRST_S = 30.0
HELD_LONGEST_S = 3_600.0
JITTER = 0.2


def outcome_of(job: Claimed, result: Result, network: Network, settings: Settings) -> Outcome:
    """What becomes of a job, given a vector or what went wrong; asks `network` whether a failure is the host's."""
    if isinstance(result, HostGivenUp):
        return replace(_failed(job, result), is_counted=False)
    if isinstance(result, ImageError):
        is_held = network.explains(job.host, result.reason)
        return failed_outcome(job, result, retry_base_s=settings.retry_base_s, is_held=is_held)
    if result.vector is None:
        error = TransientImageError(Reason.ENCODER_FAILED)
        outcome = failed_outcome(job, error, retry_base_s=settings.retry_base_s, facts=result.facts)
        return replace(outcome, took_ms=result.took_ms)
    return Outcome(
        image_id=job.image_id,
        status=JobStatus.OK,
        facts=result.facts,
        embedding=result.vector,
        took_ms=result.took_ms,
    )


def failed_outcome(
    job: Claimed, error: ImageError, *, retry_base_s: float, is_held: bool = False, facts: Facts | None = None
) -> Outcome:
    """What becomes of a failed job: ended, tried again, or `is_held` for the network without counting the attempt."""
    outcome = replace(_failed(job, error), facts=facts)
    if is_held:
        return replace(outcome, status=JobStatus.PENDING, delay_s=held_delay_s(job.put_off_s), is_counted=False)
    if job.attempts < error.reason.max_attempts:
        delay_s = max(retry_delay_s(job.attempts, retry_base_s), asked_for_s(error))
        return replace(outcome, status=JobStatus.PENDING, delay_s=delay_s)
    return outcome


def _failed(job: Claimed, error: ImageError) -> Outcome:
    return Outcome(
        image_id=job.image_id,
        status=JobStatus.FAILED,
        reason=error.reason,
        http_status=error.http_status,
        detail=str(error),
        took_ms=error.took_ms,
    )


def retry_delay_s(attempts: int, base_s: float) -> float:
    """The back-off after so many attempts: four times as long each time, spread so that retries do not come at once."""
    return base_s * 4.0 ** (attempts - 1) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret


def held_delay_s(previous_s: float) -> float:
    """How long to wait for the network: half a minute at first, twice as long each time, at most an hour."""
    return min(max(2 * previous_s, HELD_FIRST_S), HELD_LONGEST_S)
