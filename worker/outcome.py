"""What a failure means for a job: the end, another attempt after a while, or no attempt at all."""

from __future__ import annotations

import random
from dataclasses import replace

from clipgres.errors import ImageError, TransientImageError
from clipgres.jobs import Claimed
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from clipgres.settings import Settings
from clipgres.writes import Facts, Outcome
from worker.network import Network
from worker.stages import Embedded

Result = Embedded | ImageError

HELD_FIRST_S = 30.0
HELD_LONGEST_S = 3_600.0
JITTER = 0.2


def outcome_of(job: Claimed, result: Result, network: Network, settings: Settings) -> Outcome:
    """What becomes of a job, given a vector or what went wrong; asks `network` whether a failure is the host's."""
    if isinstance(result, ImageError):
        is_held = network.explains(job.host, result.reason)
        return failed_outcome(job, result, retry_base_s=settings.retry_base_s, is_held=is_held)
    if result.vector is None:
        error = TransientImageError(Reason.ENCODER_FAILED)
        return failed_outcome(job, error, retry_base_s=settings.retry_base_s, facts=result.facts)
    return Outcome(image_id=job.image_id, status=JobStatus.OK, facts=result.facts, embedding=result.vector)


def failed_outcome(
    job: Claimed, error: ImageError, *, retry_base_s: float, is_held: bool = False, facts: Facts | None = None
) -> Outcome:
    """What becomes of a failed job: ended, tried again, or `is_held` for the network without counting the attempt."""
    outcome = Outcome(
        image_id=job.image_id,
        status=JobStatus.PENDING,
        reason=error.reason,
        http_status=error.http_status,
        facts=facts,
    )
    if is_held:
        return replace(outcome, delay_s=held_delay_s(job.put_off_s), is_counted=False)
    if job.attempts < error.reason.max_attempts:
        return replace(outcome, delay_s=max(retry_delay_s(job.attempts, retry_base_s), error.retry_after_s or 0))
    return replace(outcome, status=JobStatus.FAILED)


def retry_delay_s(attempts: int, base_s: float) -> float:
    """The back-off after so many attempts: four times as long each time, spread so that retries do not come at once."""
    return base_s * 4.0 ** (attempts - 1) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret


def held_delay_s(previous_s: float) -> float:
    """How long to wait for the network: half a minute at first, twice as long each time, at most an hour."""
    return min(max(2 * previous_s, HELD_FIRST_S), HELD_LONGEST_S)
