"""Pictures that are there more than once, what a person said of them, and pictures that only say that there is none."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from clipgres.schema.base import SCHEMA, Base, now
from clipgres.schema.states import DuplicateKind


def _of_job(table: str) -> ForeignKeyConstraint:
    """Gone with the job: an image belongs to groups of the collections that ask for it."""
    return ForeignKeyConstraint(
        ["collection_id", "image_id"],
        [f"{SCHEMA}.job.collection_id", f"{SCHEMA}.job.image_id"],
        ondelete="CASCADE",
        name=f"{table}_job_fkey",
    )


class Duplicate(Base):
    """An image of a group of two or more; the group is named by its smallest image id."""

    __tablename__ = "duplicate"
    __table_args__ = (
        CheckConstraint(f"kind IN ({', '.join(repr(kind.value) for kind in DuplicateKind)})", name="kind"),
        _of_job("duplicate"),
        Index("duplicate_group_idx", "collection_id", "kind", "group_id"),
        Index("duplicate_job_idx", "collection_id", "image_id"),
    )

    collection_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    group_id: Mapped[int] = mapped_column(BigInteger)


class DuplicateLook(Base):
    """An image that was compared with the others: with which hash, and which leader it is near, itself if none."""

    __tablename__ = "duplicate_look"
    __table_args__ = (
        _of_job("duplicate_look"),
        Index("duplicate_look_near_idx", "collection_id", "leader_id", postgresql_where=text("leader_id <> image_id")),
    )

    collection_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    phash: Mapped[int] = mapped_column(BigInteger)
    leader_id: Mapped[int] = mapped_column(BigInteger)


class DuplicateRule(Base):
    """How alike the pictures of a collection must be to be near: bits of the hash that may differ, and the cosine."""

    __tablename__ = "duplicate_rule"
    __table_args__ = (
        CheckConstraint("near_bits BETWEEN 0 AND 11", name="near_bits"),
        CheckConstraint("near_score BETWEEN -1 AND 1", name="near_score"),
    )

    collection_id: Mapped[int] = mapped_column(
        ForeignKey(f"{SCHEMA}.collection.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    near_bits: Mapped[int] = mapped_column(SmallInteger)
    near_score: Mapped[float] = mapped_column(REAL)
    found_at: Mapped[datetime | None]


class DuplicateDecision(Base):
    """A person's word on two URLs, whichever collection they are in and whatever becomes of their rows."""

    __tablename__ = "duplicate_decision"
    __table_args__ = (
        CheckConstraint("url_a < url_b", name="order"),
        CheckConstraint("octet_length(url_a) = 32 AND octet_length(url_b) = 32", name="url_keys"),
    )

    url_a: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    url_b: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    is_duplicate: Mapped[bool]
    decided_at: Mapped[datetime] = now()


class Placeholder(Base):
    """A person's word on bytes that many URLs give: whether the picture only says that there is none."""

    __tablename__ = "placeholder"
    __table_args__ = (CheckConstraint("octet_length(sha256) = 32", name="sha256"),)

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    is_placeholder: Mapped[bool]
    note: Mapped[str | None]
    decided_at: Mapped[datetime] = now()
