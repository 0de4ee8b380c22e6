"""The tasks: each unpacks its message and calls one plain method."""

from __future__ import annotations

from celery import Celery

from clipgres.queue import EMBED
from worker.process import WorkerProcess


def register(app: Celery, process: WorkerProcess) -> None:
    """Give the application its tasks, which `process` does."""

    @app.task(name=EMBED)  # type: ignore[untyped-decorator]
    def embed(collection_id: int) -> None:
        process.embed(collection_id)
