"""Rows of a Parquet file, in batches, so that a large one never lies in memory whole."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from clipgres.errors import BadRequest
from clipgres.optional import optional

MAGIC = b"PAR1"
BATCH_ROWS = 1_000
BUFFER_BYTES = 1_000_000  # else a whole column of a row group is read at once


def read_parquet(file: Path | BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """Yield each row as named values that JSON can hold; columns of raw bytes are left out.

    Raises:
        BadRequest: the file is broken.
        SetupError: pyarrow is not installed.
    """
    parquet, arrow = optional("pyarrow.parquet", extra="parquet"), optional("pyarrow", extra="parquet")
    try:
        with parquet.ParquetFile(file, buffer_size=BUFFER_BYTES) as opened:
            columns = [field.name for field in opened.schema_arrow if not _is_bytes(arrow, field.type)]
            for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    yield {name: _plain(value) for name, value in row.items()}
    except arrow.ArrowException as error:
        raise BadRequest(f"{name} cannot be read: {str(error).splitlines()[0]}", "file") from error


def _is_bytes(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _plain(value: Any) -> Any:
    """Times and decimals as text, a number that is none as nothing."""
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
