"""Collections, images, jobs and batches: the record of what is asked for and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from clipgres.schema.base import ALIAS_PATTERN, SCHEMA, Base, bigint_key, key_checks, known_reason, now
from clipgres.schema.states import CollectionState, ImageState, JobStatus


class Collection(Base):
    """One model, one dimension, one table of items. It has no name: aliases have."""

    __tablename__ = "collection"
    __table_args__ = (
        CheckConstraint("metric = 'cosine'", name="metric"),
        CheckConstraint("dimension BETWEEN 1 AND 4000", name="dimension"),
        CheckConstraint("state IN ('ready', 'dropping')", name="state"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    model: Mapped[str]
    model_revision: Mapped[str]
    preprocessing: Mapped[str]
    dimension: Mapped[int]
    metric: Mapped[str] = mapped_column(server_default="cosine")
    state: Mapped[str] = mapped_column(server_default=CollectionState.READY)
    created_at: Mapped[datetime] = now()
    paused_at: Mapped[datetime | None]


class Alias(Base):
    """The name of a collection; moving it to another collection is one update."""

    __tablename__ = "alias"
    __table_args__ = (CheckConstraint(f"name ~ '{ALIAS_PATTERN}'", name="name"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    collection_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.collection.id"), index=True)


class Image(Base):
    """One distinct URL and what fetching it found."""

    __tablename__ = "image"
    __table_args__ = (
        UniqueConstraint("url_key"),
        CheckConstraint("octet_length(url_key) = 32", name="url_key"),
        CheckConstraint("state IN ('new', 'ok', 'failed')", name="state"),
        CheckConstraint("(state = 'failed') = (reason IS NOT NULL)", name="reason"),
        known_reason(),
        Index("image_host_idx", "host"),
        Index("image_sha256_idx", "sha256", postgresql_using="hash"),
        Index("image_next_check_idx", "next_check", postgresql_where=text("next_check IS NOT NULL")),
    )

    id: Mapped[int] = bigint_key()
    url: Mapped[str]
    url_key: Mapped[bytes]
    host: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=ImageState.NEW)
    is_valid: Mapped[bool] = mapped_column(Computed("state = 'ok'", persisted=True))
    reason: Mapped[str | None]
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    content_type: Mapped[str | None]
    bytes_: Mapped[int | None] = mapped_column("bytes", BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    phash: Mapped[int | None] = mapped_column(BigInteger)
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    final_url: Mapped[str | None]
    x_robots_tag: Mapped[str | None]
    first_seen_alive: Mapped[datetime | None]
    last_seen_alive: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    changed_at: Mapped[datetime | None]
    same_checks: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    failed_checks: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    next_check: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class FetchAttempt(Base):
    """One try to fetch an image and what came of it; the last ten of an image are kept."""

    __tablename__ = "fetch_attempt"
    __table_args__ = (known_reason(), Index("fetch_attempt_image_idx", "image_id", "at"))

    id: Mapped[int] = bigint_key()
    image_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(f"{SCHEMA}.image.id", ondelete="CASCADE"))
    at: Mapped[datetime] = now()
    reason: Mapped[str | None]
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    detail: Mapped[str | None]
    took_ms: Mapped[int | None]


class Host(Base):
    """A host that is left alone for a while: it asked for that, or failed again and again."""

    __tablename__ = "host"
    __table_args__ = (known_reason(), CheckConstraint("trips >= 0", name="trips"))

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_until: Mapped[datetime]
    trips: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    reason: Mapped[str | None]
    updated_at: Mapped[datetime] = now()


class Job(Base):
    """This image must have an embedding in this collection, under this key."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'leased', 'ok', 'failed')", name="status"),
        CheckConstraint("(status = 'leased') = (lease_token IS NOT NULL)", name="lease_token"),
        CheckConstraint("(status = 'leased') = (leased_until IS NOT NULL)", name="leased_until"),
        CheckConstraint("status <> 'failed' OR reason IS NOT NULL", name="reason"),
        CheckConstraint("ignored_at IS NULL OR status = 'failed'", name="ignored"),
        known_reason(),
        UniqueConstraint("collection_id", "namespace", "key"),
        *key_checks(),
        Index("job_due_idx", "collection_id", "next_attempt_at", postgresql_where=text("status = 'pending'")),
        Index("job_lease_idx", "leased_until", postgresql_where=text("status = 'leased'")),
        Index("job_failed_idx", "collection_id", "reason", "ignored_at", postgresql_where=text("status = 'failed'")),
        Index("job_ended_idx", "updated_at", postgresql_where=text("status IN ('ok', 'failed')")),
        Index("job_image_idx", "image_id"),
    )

    collection_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.collection.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(f"{SCHEMA}.image.id"), primary_key=True)
    namespace: Mapped[str] = mapped_column(server_default="")
    key: Mapped[str]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    status: Mapped[str] = mapped_column(server_default=JobStatus.PENDING)
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lease_token: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime] = now()
    updated_at: Mapped[datetime] = now()
    ignored_at: Mapped[datetime | None]


class CaptionJob(Base):
    """The captions of this image want their vectors in this collection; the row is gone once they have them."""

    __tablename__ = "caption_job"
    __table_args__ = (
        ForeignKeyConstraint(
            ["collection_id", "image_id"],
            [f"{SCHEMA}.job.collection_id", f"{SCHEMA}.job.image_id"],
            ondelete="CASCADE",
            name="caption_job_job_fkey",
        ),
    )

    collection_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class Batch(Base):
    """One import: where the list came from, how far it was read and what became of its lines."""

    __tablename__ = "batch"

    id: Mapped[int] = bigint_key()
    collection_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.collection.id"), index=True)
    source: Mapped[str]
    fingerprint: Mapped[str | None]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    lines: Mapped[int] = mapped_column(BigInteger, server_default="0")
    accepted: Mapped[int] = mapped_column(BigInteger, server_default="0")
    merged: Mapped[int] = mapped_column(BigInteger, server_default="0")
    refused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    started: Mapped[datetime] = now()
    finished: Mapped[datetime | None]


class BatchJob(Base):
    """Which jobs a batch asked for."""

    __tablename__ = "batch_job"
    __table_args__ = (
        ForeignKeyConstraint(
            ["collection_id", "image_id"],
            [f"{SCHEMA}.job.collection_id", f"{SCHEMA}.job.image_id"],
            ondelete="CASCADE",
            name="batch_job_job_fkey",
        ),
        Index("batch_job_job_idx", "collection_id", "image_id"),
    )

    batch_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{SCHEMA}.batch.id", ondelete="CASCADE"), primary_key=True
    )
    image_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    collection_id: Mapped[int]


class RefusedLine(Base):
    """A line of a list that was refused, and why; the first thousand of a batch are kept."""

    __tablename__ = "refused_line"

    batch_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{SCHEMA}.batch.id", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    reason: Mapped[str]
    excerpt: Mapped[str]
