"""Ask hosts that used to answer whether the network works, when nothing else witnesses that it does."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from sqlalchemy import Engine, text

from clipgres.database import transaction
from clipgres.errors import ClipgresError, ImageError
from clipgres.fetching import Fetched
from worker.network import Network

MOST_ASKED = 3

# The newest by `next_check`, which has an index and is a month after an image was last seen alive.
ALIVE_SQL = text("""
    SELECT DISTINCT ON (newest.host) newest.host, newest.url
    FROM (
        SELECT host, url, state FROM clipgres.image WHERE next_check IS NOT NULL ORDER BY next_check DESC LIMIT 1000
    ) newest
    WHERE newest.state = 'ok'
""")


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
