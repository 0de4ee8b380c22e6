"""The Celery application, for `celery -A worker.app worker --pool threads --concurrency 1`.

`app` is made when it is first asked for, so that importing this module does nothing.
"""

from __future__ import annotations

import logging
import sys
from functools import cache, partial
from typing import Any

from celery import Celery, signals

from clipgres.encoders import Encoders
from clipgres.endpoints import redis_url
from clipgres.errors import SetupError
from clipgres.queue import make_app
from clipgres.settings import Settings, load_settings
from worker.process import WorkerProcess
from worker.tasks import register

# At the level INFO each of these writes two lines a message, and there is a message every few seconds.
CHATTERS = ("celery.worker.strategy", "celery.app.trace")


def build(settings: Settings, encoders: Encoders) -> Celery:
    """Make the application of a worker process and tie it to Celery's signals; it connects on first use.

    Raises:
        SetupError: a setting that is wrong.
    """
    app = make_app(redis_url(settings))
    process = WorkerProcess(settings, app, encoders)
    register(app, process)

    def start(sender: Any, **_: object) -> None:
        for name in CHATTERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        process.start(sender.hostname, sender.controller.concurrency, partial(_reconnect, sender.hub))

    # Weak references to these functions would be gone by the time that Celery calls them.
    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(lambda **_: process.stop(), weak=False)
    signals.worker_shutdown.connect(lambda **_: process.close(), weak=False)
    return app


def _reconnect(hub: Any) -> None:
    """Have Celery's loop meet what it meets when a connection is lost."""

    def lose() -> None:
        raise ConnectionResetError("given up, since nothing was delivered over it")

    hub.call_soon(lose)


@cache
def _app() -> Celery:
    try:
        settings = load_settings()
        return build(settings, Encoders(settings))
    except SetupError as error:
        sys.exit(f"Error: {error}")


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
