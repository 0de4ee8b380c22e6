"""Whether this process lives, and whether it can do its work."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint
from redis.exceptions import RedisError

from clipgres.database import transaction
from clipgres.errors import ClipgresError
from clipgres.migrations import check_migrated
from webapp.services import Services, services

health = Blueprint("health", __name__)

WELL = "ok"


@health.get("/healthz")
def alive() -> dict[str, str]:
    """This process answers; it asks nothing else."""
    return {"status": WELL}


@health.get("/readyz")
def ready() -> tuple[dict[str, object], HTTPStatus]:
    """Whether the database is migrated and the queue can be reached; says which part is not."""
    parts = {"database": _database(services()), "queue": _queue(services())}
    is_ready = set(parts.values()) == {WELL}
    status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return {"status": WELL if is_ready else "not ready", **parts}, status


def _database(parts: Services) -> str:
    try:
        with transaction(parts.engine) as connection:
            check_migrated(connection)
    except ClipgresError as error:
        return str(error)
    return WELL


def _queue(parts: Services) -> str:
    try:
        parts.redis.ping()
    except RedisError as error:
        return f"the queue cannot be reached: {error}"
    return WELL
