"""Look at everything that an installation stands on, and say what is wrong and what mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection, list_all
from clipgres.database import available_pgvector, check_versions, driver_connection, transaction
from clipgres.encoders import Encoders
from clipgres.errors import ClipgresError
from clipgres.index import IndexOf, index_state, needs_index
from clipgres.migrations import check_migrated, head_revision
from clipgres.presence import workers
from clipgres.rights import excess, watching
from clipgres.settings import Settings

LITTLE_DISK_BYTES = 2_000_000_000


class Health(StrEnum):
    """How one thing stands."""

    WELL = "well"
    UNUSUAL = "unusual"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `advice` says what to do when it is not well."""

    subject: str
    health: Health
    detail: str
    advice: str = ""


SERVER_SQL = text("SHOW server_version")
EXPIRED_LEASES_SQL = text("""
    SELECT count(*) FROM clipgres.job WHERE status = 'leased' AND leased_until < now() - interval '1 minute'
""")
STRAY_TABLES_SQL = text(r"""
    SELECT t.tablename
    FROM pg_tables t
    WHERE t.schemaname = 'clipgres' AND t.tablename ~ '^(item|caption)_\d+$'
      AND NOT EXISTS (
          SELECT FROM clipgres.collection c WHERE c.id::text = substring(t.tablename from '\d+$')
      )
    ORDER BY t.tablename
""")
ORPHANS_SQL = """
    SELECT count(*) FROM {items} i
    WHERE i.image_id IS NOT NULL AND NOT EXISTS (SELECT FROM clipgres.image im WHERE im.id = i.image_id)
"""


def examine(settings: Settings, engine: Engine, redis: Redis, encoders: Encoders) -> Iterator[Finding]:
    """Look at the database, the queue, the models and the disk, one after another."""
    yield from _or_broken("database", lambda: list(_database(engine, settings)))
    yield from _or_broken("queue", lambda: list(_queue(redis)))
    yield from _or_broken("models", lambda: list(_models(engine, encoders)))
    yield from _disk(settings.home)


def _or_broken(subject: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except (ClipgresError, RedisError) as error:
        return [Finding(subject, Health.BROKEN, str(error), _first_step(subject))]


def _first_step(subject: str) -> str:
    return {"database": "start it: clipgres up", "queue": "start it: clipgres up"}.get(subject, "")


def _database(engine: Engine, settings: Settings) -> Iterator[Finding]:
    with transaction(engine) as connection:
        check_versions(connection)
        server = connection.execute(SERVER_SQL).scalar_one()
        yield Finding("PostgreSQL", Health.WELL, f"{server}, pgvector {available_pgvector(connection)}")
        check_migrated(connection)
        yield Finding("schema", Health.WELL, f"revision {head_revision()}")
        yield _leases(connection)
        yield _stray_tables(connection)
        yield from _readers(connection)
        for collection in list_all(connection):
            yield _items(connection, collection)
            yield _index(connection, f"index of {collection.name}", IndexOf.items(collection), settings)
            yield _index(connection, f"captions of {collection.name}", IndexOf.captions(collection), settings)


def _items(connection: Connection, collection: Collection) -> Finding:
    subject = f"collection {collection.name}"
    orphans = connection.execute(text(ORPHANS_SQL.format(items=collection.item_table))).scalar_one()
    if orphans:
        return Finding(subject, Health.BROKEN, f"{orphans:,} items have lost their image", "restore a backup")
    return Finding(subject, Health.WELL, collection.space.describe())


def _index(connection: Connection, subject: str, index: IndexOf, settings: Settings) -> Finding:
    state = index_state(connection, index)
    if state.is_there and not state.is_valid and not state.is_building:
        return Finding(subject, Health.BROKEN, "the index is invalid; searches are exact", "a worker rebuilds it")
    if not state.is_there and needs_index(connection, index, settings.index_rows):
        return Finding(subject, Health.UNUSUAL, "no index yet; searches are exact", "a worker builds it")
    return Finding(subject, Health.WELL, state.name if state.is_valid else "exact search, no index needed")


def _leases(connection: Connection) -> Finding:
    expired = connection.execute(EXPIRED_LEASES_SQL).scalar_one()
    if expired:
        return Finding(
            "leases", Health.UNUSUAL, f"{expired:,} jobs of a dead worker wait", "start a worker: it takes them"
        )
    return Finding("leases", Health.WELL, "none has run out")


def _stray_tables(connection: Connection) -> Finding:
    strays = connection.execute(STRAY_TABLES_SQL).scalars().all()
    if strays:
        return Finding("tables", Health.UNUSUAL, f"of no collection: {', '.join(strays)}", "DROP TABLE them")
    return Finding("tables", Health.WELL, "each belongs to a collection")


def _readers(connection: Connection) -> Iterator[Finding]:
    below = driver_connection(connection)
    amiss = [*excess(below), *watching(below)]
    for right in amiss:
        yield Finding("readers", Health.UNUSUAL, right.what, f"as a superuser: {right.statement}")
    if not amiss:
        yield Finding("readers", Health.WELL, "may read, and nothing else")


def _queue(redis: Redis) -> Iterator[Finding]:
    policy = str(redis.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction"))
    if policy == "noeviction":
        yield Finding("Redis", Health.WELL, str(redis.info("server")["redis_version"]))
    else:
        yield Finding("Redis", Health.UNUSUAL, f"maxmemory-policy is {policy}", "set it to noeviction")
    alive = workers(redis)
    if not alive:
        yield Finding(
            "workers", Health.BROKEN, "none is alive: nothing is fetched or embedded", "start one: clipgres up"
        )
    for worker in alive:
        health = Health.BROKEN if worker.trouble else Health.WELL
        yield Finding("worker", health, f"{worker.name}: {worker.trouble}" if worker.trouble else worker.name)


def _models(engine: Engine, encoders: Encoders) -> Iterator[Finding]:
    default = encoders.default_space()
    yield Finding("model", Health.WELL, default.describe())
    with transaction(engine) as connection:
        spaces = {collection.space for collection in list_all(connection)} - {default}
    for space in sorted(spaces, key=lambda space: space.model):
        try:
            encoders.of(space)
            yield Finding("model", Health.WELL, space.describe())
        except ClipgresError as error:
            yield Finding("model", Health.BROKEN, str(error), "set CLIPGRES_MODEL, or copy the model here")


def _disk(home: Path) -> Iterator[Finding]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    health = Health.WELL if free > LITTLE_DISK_BYTES else Health.UNUSUAL
    yield Finding("disk", health, f"{free / 1e9:,.1f} GB free at {there}", "" if health == Health.WELL else "make room")
