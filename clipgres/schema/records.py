"""What is kept beside the pictures: saved searches, samples of recall, backups."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import REAL, ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from clipgres.schema.base import SCHEMA, Base, bigint_key, now


class SavedSearch(Base):
    """A named search request with its threshold."""

    __tablename__ = "saved_search"

    name: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = now()


class QualitySample(Base):
    """Recall of a collection's index against exact search, at one moment."""

    __tablename__ = "quality_sample"

    id: Mapped[int] = bigint_key()
    collection_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.collection.id", ondelete="CASCADE"), index=True)
    measured_at: Mapped[datetime] = now()
    ef_search: Mapped[int]
    queries: Mapped[int]
    recall: Mapped[float] = mapped_column(REAL)
    worst: Mapped[float] = mapped_column(REAL)
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class BackupRun(Base):
    """One backup: when, where to, and what its manifest says."""

    __tablename__ = "backup_run"

    id: Mapped[int] = bigint_key()
    started: Mapped[datetime] = now()
    finished: Mapped[datetime | None]
    path: Mapped[str]
    manifest: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
