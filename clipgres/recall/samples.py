"""Measurements of recall as they are kept: one row for each `ef_search`, the rest in its detail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.recall.measuring import Report
from clipgres.recall.statements import HISTORY_SQL, KEEP_SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Recall of a collection's index at one moment and one `ef_search`."""

    measured_at: datetime
    ef_search: int
    queries: int
    recall: float
    worst: float
    detail: Mapping[str, Any]


def keep(engine: Engine, report: Report) -> None:
    """Keep a measurement.

    Raises:
        NotPermitted: this login may not, or the server takes no writes.
    """
    shared = {
        "k": report.k,
        "items": report.items,
        "namespace": report.namespace,
        "exact_p50_ms": report.exact_p50_ms,
        "as_searched": asdict(report.as_searched),
        "by_filter": [asdict(line) for line in report.by_filter],
    }
    rows = [
        {
            "collection": report.collection_id,
            "measured_at": report.measured_at,
            "ef_search": line.ef_search,
            "queries": line.overall.queries,
            "recall": line.overall.recall,
            "worst": line.overall.worst,
            "detail": json.dumps(
                {
                    "perfect": line.overall.perfect,
                    "p50_ms": line.overall.p50_ms,
                    "kinds": {kind: asdict(score) for kind, score in line.kinds.items()},
                    **shared,
                }
            ),
        }
        for line in report.by_ef_search
    ]
    with transaction(engine) as connection:
        connection.execute(KEEP_SQL, rows)


def history(connection: Connection, collection: Collection, limit: int) -> list[Sample]:
    """The latest measurements of a collection, the newest first."""
    rows = connection.execute(HISTORY_SQL, {"collection": collection.id, "limit": limit})
    return [Sample(**row) for row in rows.mappings()]
