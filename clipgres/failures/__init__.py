"""Images that failed: counted by reason, host and batch, shown one by one, tried again or ignored."""

from clipgres.failures.actions import ignore, retry
from clipgres.failures.choice import FailureFilter, Grouping, parse_filter, reason_named
from clipgres.failures.groups import (
    BatchFailures,
    FailureGroup,
    Group,
    HostFailures,
    Totals,
    by_batch,
    by_host,
    by_reason,
    grouped,
    totals,
)
from clipgres.failures.pictures import FailedImage, samples

__all__ = [
    "BatchFailures",
    "FailedImage",
    "FailureFilter",
    "FailureGroup",
    "Group",
    "Grouping",
    "HostFailures",
    "Totals",
    "by_batch",
    "by_host",
    "by_reason",
    "grouped",
    "ignore",
    "parse_filter",
    "reason_named",
    "retry",
    "samples",
    "totals",
]
