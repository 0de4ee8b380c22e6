"""What searches read: captions, thumbnails, and the templates of the tables of vectors."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import REAL, BigInteger, Computed, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from clipgres.schema.base import SCHEMA, Base, bigint_key, key_checks, now


class Caption(Base):
    """One caption of an image; the same text twice is one caption."""

    __tablename__ = "caption"
    __table_args__ = (
        UniqueConstraint("image_id", "text_key"),
        Index("caption_tsv_idx", "tsv", postgresql_using="gin"),
    )

    id: Mapped[int] = bigint_key()
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
        *key_checks(),
        Index("item_metadata_idx", "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
        Index("item_image_idx", "image_id"),
    )

    id: Mapped[int] = bigint_key()
    namespace: Mapped[str] = mapped_column(server_default="")
    key: Mapped[str]
    image_id: Mapped[int | None] = mapped_column(BigInteger)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime] = now()


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


class QueryRefusal(Base):
    """Why a text that was asked for in SQL got no vector: read by whoever asked, and gone after an hour."""

    __tablename__ = "query_refusal"

    model: Mapped[str] = mapped_column(primary_key=True)
    text_key: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str]
    refused_at: Mapped[datetime] = now()
