"""What all models share: their schema, the names of their constraints, and kinds of columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, LargeBinary, MetaData, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
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


def now() -> Mapped[datetime]:
    """A column that says when its row was made."""
    return mapped_column(server_default=func.now())


def bigint_key() -> Mapped[int]:
    """A primary key that the database numbers."""
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


def known_reason() -> CheckConstraint:
    """Only reasons of the closed list."""
    return CheckConstraint(f"reason IN ({', '.join(repr(reason.value) for reason in Reason)})", name="known_reason")


def key_checks() -> tuple[CheckConstraint, CheckConstraint]:
    """The lengths of a key and its namespace."""
    return (
        CheckConstraint(f"octet_length(key) BETWEEN 1 AND {KEY_MAX_BYTES}", name="key"),
        CheckConstraint(f"octet_length(namespace) <= {NAMESPACE_MAX_BYTES}", name="namespace"),
    )
