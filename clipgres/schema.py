"""The tables of schema `clipgres` as SQLAlchemy models; tables of single collections are made by `collections`.

A row of `job` is the record of work: a message in Redis is only a hint that there is some. `image` holds what
fetching a URL found, shared by every collection. `item` and `caption_embedding` are empty templates.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from clipgres.reasons import Reason

SCHEMA = "clipgres"
VIEWS = "collections"
NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}

ALIAS_PATTERN = "^[a-z0-9][a-z0-9_-]{0,44}$"
# A B-tree entry holds at most 2,704 bytes: both together stay below it.
KEY_MAX_BYTES = 1_024
NAMESPACE_MAX_BYTES = 512


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


class Base(DeclarativeBase):
    """All tables live in one schema and have predictable constraint names."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        bytes: LargeBinary,
        UUID: Uuid,
        dict[str, Any]: JSONB,
    }


def _now() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


def _bigint_key() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


def _known_reason() -> CheckConstraint:
    return CheckConstraint(f"reason IN ({', '.join(repr(reason.value) for reason in Reason)})", name="known_reason")


def _key_checks() -> tuple[CheckConstraint, CheckConstraint]:
    return (
        CheckConstraint(f"octet_length(key) BETWEEN 1 AND {KEY_MAX_BYTES}", name="key"),
        CheckConstraint(f"octet_length(namespace) <= {NAMESPACE_MAX_BYTES}", name="namespace"),
    )


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
    created_at: Mapped[datetime] = _now()


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
        _known_reason(),
        Index("image_host_idx", "host"),
        Index("image_sha256_idx", "sha256", postgresql_using="hash"),
        Index("image_next_check_idx", "next_check", postgresql_where=text("next_check IS NOT NULL")),
    )

    id: Mapped[int] = _bigint_key()
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
    first_seen_alive: Mapped[datetime | None]
    last_seen_alive: Mapped[datetime | None]
    next_check: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()


class Job(Base):
    """This image must have an embedding in this collection, under this key."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'leased', 'ok', 'failed')", name="status"),
        CheckConstraint("(status = 'leased') = (lease_token IS NOT NULL)", name="lease_token"),
        CheckConstraint("(status = 'leased') = (leased_until IS NOT NULL)", name="leased_until"),
        CheckConstraint("status <> 'failed' OR reason IS NOT NULL", name="reason"),
        _known_reason(),
        UniqueConstraint("collection_id", "namespace", "key"),
        *_key_checks(),
        Index("job_due_idx", "collection_id", "next_attempt_at", postgresql_where=text("status = 'pending'")),
        Index("job_lease_idx", "leased_until", postgresql_where=text("status = 'leased'")),
        Index("job_failed_idx", "collection_id", "reason", postgresql_where=text("status = 'failed'")),
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
    next_attempt_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class Batch(Base):
    """One import: where the list came from, how far it was read and what became of its lines."""

    __tablename__ = "batch"

    id: Mapped[int] = _bigint_key()
    collection_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.collection.id"), index=True)
    source: Mapped[str]
    fingerprint: Mapped[str | None]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    lines: Mapped[int] = mapped_column(BigInteger, server_default="0")
    accepted: Mapped[int] = mapped_column(BigInteger, server_default="0")
    merged: Mapped[int] = mapped_column(BigInteger, server_default="0")
    refused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    started: Mapped[datetime] = _now()
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


class Caption(Base):
    """One caption of an image; the same text twice is one caption."""

    __tablename__ = "caption"
    __table_args__ = (
        UniqueConstraint("image_id", "text_key"),
        Index("caption_tsv_idx", "tsv", postgresql_using="gin"),
    )

    id: Mapped[int] = _bigint_key()
    image_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(f"{SCHEMA}.image.id", ondelete="CASCADE"))
    text: Mapped[str]
    text_key: Mapped[UUID] = mapped_column(Computed("md5(text)::uuid", persisted=True))
    source: Mapped[str] = mapped_column(server_default="list")
    tsv: Mapped[Any] = mapped_column(TSVECTOR, Computed("to_tsvector('english'::regconfig, text)", persisted=True))


class Thumbnail(Base):
    """A WebP of the picture, short side 256 px: a result survives its dead link."""

    __tablename__ = "thumbnail"

    image_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{SCHEMA}.image.id", ondelete="CASCADE"), primary_key=True
    )
    webp: Mapped[bytes]


class Item(Base):
    """Template of every `item_N`, which adds `embedding halfvec(D)`; its own rows stay empty."""

    __tablename__ = "item"
    __table_args__ = (
        UniqueConstraint("namespace", "key"),
        *_key_checks(),
        Index("item_metadata_idx", "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
        Index("item_image_idx", "image_id"),
    )

    id: Mapped[int] = _bigint_key()
    namespace: Mapped[str] = mapped_column(server_default="")
    key: Mapped[str]
    image_id: Mapped[int | None] = mapped_column(BigInteger)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime] = _now()


class CaptionEmbedding(Base):
    """Template of every `caption_N`, the caption space of a collection, which adds its `embedding`."""

    __tablename__ = "caption_embedding"
    __table_args__ = (Index("caption_embedding_image_idx", "image_id"),)

    caption_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    image_id: Mapped[int] = mapped_column(BigInteger)


class ItemLabel(Base):
    """A zero-shot label: apart from the item, since each update of an item row enters the HNSW graph anew."""

    __tablename__ = "item_label"
    __table_args__ = (Index("item_label_label_idx", "collection_id", "label", "score"),)

    collection_id: Mapped[int] = mapped_column(
        ForeignKey(f"{SCHEMA}.collection.id", ondelete="CASCADE"), primary_key=True
    )
    item_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    score: Mapped[float] = mapped_column(REAL)


class QueryEmbedding(Base):
    """The vector of a text that was asked for: a repeated query costs no run of the model."""

    __tablename__ = "query_embedding"

    model: Mapped[str] = mapped_column(primary_key=True)
    text_key: Mapped[UUID] = mapped_column(Computed("md5(text)::uuid", persisted=True), primary_key=True)
    text: Mapped[str]
    embedding: Mapped[Any] = mapped_column(VECTOR)
    used_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class SavedSearch(Base):
    """A named search request with its threshold."""

    __tablename__ = "saved_search"

    name: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _now()


class QualitySample(Base):
    """Recall of a collection's index against exact search, at one moment."""

    __tablename__ = "quality_sample"

    id: Mapped[int] = _bigint_key()
    collection_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.collection.id", ondelete="CASCADE"), index=True)
    measured_at: Mapped[datetime] = _now()
    ef_search: Mapped[int]
    queries: Mapped[int]
    recall: Mapped[float] = mapped_column(REAL)
    worst: Mapped[float] = mapped_column(REAL)
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class BackupRun(Base):
    """One backup: when, where to, and what its manifest says."""

    __tablename__ = "backup_run"

    id: Mapped[int] = _bigint_key()
    started: Mapped[datetime] = _now()
    finished: Mapped[datetime | None]
    path: Mapped[str]
    manifest: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
