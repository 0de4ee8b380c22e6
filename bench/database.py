"""A PostgreSQL of a benchmark's own, in a temporary home that is removed with it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clipgres.errors import Unavailable
from clipgres.migrations import upgrade
from clipgres.servers.child import RunningChild, last_lines
from clipgres.servers.postgres import bootstrap, embedded_database_url, postgres_child, prepare_postgres
from clipgres.settings import Settings

# Nothing here outlives the run, so none of it is forced to the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def scratch_database(parameters: Mapping[str, str] = FAST) -> Iterator[str]:
    """The address of an empty, migrated database on a server with the product's own parameters, and these over them."""
    folder = Path(tempfile.mkdtemp(prefix="clipgres-bench-"))
    folder.chmod(0o711)
    settings = Settings(home=folder)
    try:
        prepare_postgres(settings)
        server = RunningChild(postgres_child(settings, parameters))
        try:
            wait(server)
            bootstrap(settings)
            url = embedded_database_url(settings)
            upgrade(url)
            yield url
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def wait(server: RunningChild) -> None:
    """Return once a server answers.

    Raises:
        Unavailable: it ended, or took too long.
    """
    deadline = time.monotonic() + server.child.ready_timeout_s
    while not server.is_ready():
        if server.exit_code() is not None or time.monotonic() > deadline:
            raise Unavailable(f"{server.child.name} did not start: {last_lines(server.child.log)}")
        time.sleep(0.05)
