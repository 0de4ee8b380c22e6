"""The worker and the web server as children: their command lines, their environment, when they are ready."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import socket
import sys
from contextlib import suppress
from signal import Signals

from pydantic import SecretStr
from redis.exceptions import RedisError

from clipgres.endpoints import redis_url
from clipgres.presence import presence_key, withdraw
from clipgres.redis_client import connect_redis
from clipgres.servers.child import Child
from clipgres.servers.home import Home
from clipgres.settings import PREFIX, Settings

# Celery and gunicorn put the working directory first on the import path, where a user may have a `worker` or `webapp`
# of their own: so -P keeps Python from doing the same, and ours are imported before either of them does.
CELERY = "import worker.app; from celery.__main__ import main; main()"
GUNICORN = "import webapp; from gunicorn.app.wsgiapp import run; run()"


def worker_child(settings: Settings, home: Home) -> Child:
    """The Celery worker, ready when it says so in Redis under its own name."""
    digest = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:12]
    name = f"up-{digest}@{socket.gethostname()}"
    queue = redis_url(settings)
    options = ("-A", "worker.app:app", "worker", "--pool", "threads", "--concurrency", "1")
    alone = ("--loglevel", "INFO", "--without-mingle", "--without-gossip", "--hostname", name)
    return Child(
        name="worker",
        command=(sys.executable, "-P", "-c", CELERY, *options, *alone),
        log=home.log("worker"),
        ready=lambda: _is_present(queue, name),
        environment=environment(settings),
        before_start=lambda: _forget(queue, name),
        ready_timeout_s=120,
        stop_signals=(Signals.SIGTERM, Signals.SIGQUIT),  # warm, then cold
        grace_s=15,
    )


def web_child(settings: Settings, host: str, port: int, home: Home) -> Child:
    """The web server: one process, since each would hold a model of its own."""
    options = ("--worker-class", "gthread", "--workers", "1", "--threads", "8", "--bind", f"{in_url(host)}:{port}")
    limits = ("--timeout", "120", "--graceful-timeout", "5", "--no-control-socket")
    return Child(
        name="web",
        command=(sys.executable, "-P", "-c", GUNICORN, f"webapp:create_app(bind_host={host!r})", *options, *limits),
        log=home.log("web"),
        ready=lambda: _answers(reachable(host), port),
        environment=environment(settings),
        ready_timeout_s=120,
        stop_signals=(Signals.SIGTERM, Signals.SIGQUIT),
    )


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting that was given, wherever it came from, as a variable."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    named = {PREFIX + name.upper(): _in_words(value) for name, value in given.items() if value is not None}
    return {**inherited, **named, "PYTHONUNBUFFERED": "1"}


def in_url(host: str) -> str:
    """A host as it stands before a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def reachable(host: str) -> str:
    """The address by which this machine itself reaches a server bound to the host."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here


def _is_present(redis_url: str, worker: str) -> bool:
    with suppress(RedisError), connect_redis(redis_url) as client:
        return bool(client.exists(presence_key(worker)))
    return False


def _forget(redis_url: str, worker: str) -> None:
    """Take back what an earlier worker of this name said of itself; with Redis away there is nothing to take back."""
    with suppress(RedisError), connect_redis(redis_url) as client:
        withdraw(client, worker)


def _answers(host: str, port: int) -> bool:
    """Whether the page says that it and what it needs are ready; asked past any proxy."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _in_words(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)
