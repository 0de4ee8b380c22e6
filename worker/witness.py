"""Ask hosts that used to answer whether the network works, and once it does, let go on what waited for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.errors import ClipgresError, ImageError
from clipgres.fetching import Fetched
from clipgres.jobs import hasten_held
from worker.network import Network

MOST_ASKED = 3

# By `next_check`, which has an index: it lies furthest ahead for what was seen alive lately, or again and again.
ALIVE_SQL = text("""
    SELECT DISTINCT ON (newest.host) newest.host, newest.url
    FROM (
        SELECT host, url, state FROM clipgres.image WHERE next_check IS NOT NULL ORDER BY next_check DESC LIMIT 1000
    ) newest
    WHERE newest.state = 'ok'
""")


def hasten_in_background(engine: Engine) -> None:
    """Start making due what waited for the network, without waiting for the end of it."""
    Thread(target=hasten, args=(engine,), name="hasten", daemon=True).start()


def hasten(engine: Engine) -> None:
    """Make due what waited for the network; without the database it goes on when its wait is over."""
    with suppress(ClipgresError):
        hastened = True
        while hastened:
            with transaction(engine) as connection:
                hastened = hasten_held(connection) > 0


def look_in_background(engine: Engine, fetch: Callable[[str], Fetched], network: Network) -> None:
    """Start looking for a witness, without waiting for what it finds."""
    Thread(target=look_for_witness, args=(engine, fetch, network), name="witness", daemon=True).start()


def look_for_witness(engine: Engine, fetch: Callable[[str], Fetched], network: Network) -> None:
    """Fetch from a few hosts beyond this machine that were alive lately, and note the first reply."""
    try:
        with transaction(engine) as connection:
            alive = {row.host: row.url for row in connection.execute(ALIVE_SQL)}
    except ClipgresError:
        return
    for host in [host for host in alive if not network.is_local(host)][:MOST_ASKED]:
        try:
            fetch(alive[host])
        except ImageError as error:
            if error.reason.needs_network_witness:
                continue
        network.note_reply(host)
        return
