"""The states that rows of jobs, images and collections can be in."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands."""

    PENDING = "pending"  # due at next_attempt_at
    LEASED = "leased"  # in a worker's hands until leased_until
    OK = "ok"  # its item is searchable
    FAILED = "failed"  # it ended, for `reason`


class ImageState(StrEnum):
    """What is known of a URL."""

    NEW = "new"  # never fetched
    OK = "ok"  # fetched, and a picture
    FAILED = "failed"  # the last fetch failed, for `reason`


class CollectionState(StrEnum):
    """Whether a collection can be used."""

    READY = "ready"
    DROPPING = "dropping"


class DuplicateKind(StrEnum):
    """What makes pictures duplicates of each other."""

    URL = "url"  # different URLs that lead to the same one
    BYTES = "bytes"  # the same file
    NEAR = "near"  # they look the same; those of the other kinds are among them
