"""Puts jobs into a test's database, makes what a pipeline works with, and reads what became of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine, text

from clipgres.collections import Collection, find_or_create
from clipgres.database import transaction
from clipgres.errors import TransientImageError
from clipgres.fetching import Fetched
from clipgres.fetching.addresses import AddressPolicy
from clipgres.models import Space
from clipgres.reasons import Reason
from clipgres.settings import Settings
from clipgres.urls import normalise_url
from tests.decoding import shared_decoders
from tests.fakes import FakeEncoder
from tests.hostile import HostileServer
from worker.breaker import Breaker
from worker.network import Network
from worker.tools import Tools

IMAGE_SQL = text("""
    INSERT INTO clipgres.image (url, url_key, host) VALUES (:url, :key, :host)
    ON CONFLICT (url_key) DO UPDATE SET url = excluded.url RETURNING id
""")
JOB_SQL = text(
    "INSERT INTO clipgres.job (collection_id, image_id, key) VALUES (:collection, :image, CAST(:image AS text))"
)
COUNT_SQL = text(
    "SELECT status, reason, count(*) AS jobs FROM clipgres.job WHERE collection_id = :collection GROUP BY 1, 2"
)


def new_collection(engine: Engine, name: str = "default", space: Space | None = None) -> Collection:
    """An empty collection, of the fake encoder's space unless another is given."""
    with transaction(engine) as connection:
        return find_or_create(connection, name, space or FakeEncoder().space)


def add_urls(engine: Engine, collection: Collection, urls: Iterable[str]) -> list[int]:
    """One job a URL, due at once; returns the image ids."""
    ids = []
    with transaction(engine) as connection:
        for url in urls:
            normal = normalise_url(url)
            image = connection.execute(
                IMAGE_SQL, {"url": normal.url, "key": normal.key, "host": normal.host}
            ).scalar_one()
            connection.execute(JOB_SQL, {"collection": collection.id, "image": image})
            ids.append(image)
    return ids


def ends(engine: Engine, collection: Collection) -> Counter[str]:
    """How many jobs stand how: `ok`, `pending`, `failed not_found`, ..."""
    with transaction(engine) as connection:
        rows = connection.execute(COUNT_SQL, {"collection": collection.id})
        return Counter({" ".join(filter(None, (row.status, row.reason))): row.jobs for row in rows})


def items(engine: Engine, collection: Collection) -> int:
    """How many items the collection holds."""
    with transaction(engine) as connection:
        count: int = connection.execute(text(f"SELECT count(*) FROM {collection.item_table}")).scalar_one()
        return count


def scalar(engine: Engine, statement: str, **parameters: object) -> object:
    """The one value that a statement gives."""
    with transaction(engine) as connection:
        return connection.execute(text(statement), parameters).scalar_one()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition came to hold in time, which is ample for a loaded machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def make_tools(engine: Engine, settings: Settings, fetch: Callable[[str], Fetched], **changes: Any) -> Tools:
    """What a pipeline works with: these settings with the changes, and 16 downloads a host."""
    changed = settings.model_copy(update={"fetch_per_host": 16} | changes)
    network = Network(AddressPolicy.from_setting(settings.fetch_allow).allowed)
    breaker = Breaker(engine, network, changed)
    return Tools(
        engine=engine, fetch=fetch, decoders=shared_decoders(), network=network, breaker=breaker, settings=changed
    )


def pictures(server: HostileServer, count: int) -> list[str]:
    """The URLs of so many pictures that are there."""
    return [server.url(f"picture?{number}") for number in range(count)]


def no_network(url: str) -> Fetched:
    """Fails as every fetch does on a machine without a network."""
    raise TransientImageError(Reason.DNS_FAILED, "no answer")


def fetched(body: bytes) -> Fetched:
    """A reply with this body."""
    return Fetched(body=body, content_type="image/jpeg", http_status=200, final_url="", etag=None, last_modified=None)
