"""The whole of clipgres on one machine: PostgreSQL, Redis, migrations, worker and web as one supervised tree."""

from __future__ import annotations

import errno
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import SecretStr

from clipgres.endpoints import database_url, redis_url
from clipgres.errors import Conflict, SetupError
from clipgres.migrations import upgrade
from clipgres.servers.home import home_of
from clipgres.servers.lock import home_lock
from clipgres.servers.postgres import bootstrap, postgres_child, prepare_postgres
from clipgres.servers.programs import in_url, reachable, web_child, worker_child
from clipgres.servers.redis import prepare_redis, redis_child
from clipgres.servers.supervisor import Supervisor
from clipgres.settings import Settings


@dataclass(frozen=True)
class Stack:
    """What runs: settings that name its servers, and the address of its page."""

    settings: Settings
    url: str


def say(line: str) -> None:
    """Write a line for a person on stderr."""
    print(line, file=sys.stderr, flush=True)


def run_stack(
    settings: Settings,
    port: int,
    host: str = "127.0.0.1",
    *,
    announce: Callable[[str], None] = say,
    on_ready: Callable[[Stack], None] | None = None,
    stay: bool = True,
) -> int:
    """Run everything until Ctrl-C or SIGTERM and return the exit code; call it from the main thread.

    `announce` gets lines for a person. `on_ready` runs in a thread once the page answers; without `stay` the stack
    ends when it returns. What it raises ends the stack and is raised here. Port 0 takes a free one.

    Raises:
        Conflict: another stack uses this home, or another program the port.
        SetupError: a server cannot start; the text ends with its log.
    """
    home = home_of(settings)
    home.prepare()
    port = port or _free_port(host)
    url = f"http://{in_url(reachable(host))}:{port}"
    with home_lock(home.lock, url) as lock:
        _require_free(host, port)
        announce(f"starting clipgres; its data and logs are in {home.root}")
        with Supervisor(announce, lock.record) as supervisor:
            _start_servers(supervisor, settings)
            stack = Stack(_complete(settings), url)
            supervisor.start(worker_child(stack.settings, home))
            supervisor.start(web_child(stack.settings, host, port, home))
            announce(f"clipgres is ready: {url}")
            _serve(supervisor, stack, on_ready, stay)
    return 0


def _start_servers(supervisor: Supervisor, settings: Settings) -> None:
    """Start the embedded servers that no setting replaces, and migrate."""
    if settings.database_url is None:
        prepare_postgres(settings)
        supervisor.start(postgres_child(settings))
        bootstrap(settings)
    if settings.redis_url is None:
        prepare_redis(settings)
        supervisor.start(redis_child(settings))
    upgrade(database_url(settings))


def _complete(settings: Settings) -> Settings:
    """The settings with both servers named and the home absolute, for children that may work elsewhere."""
    return settings.model_copy(
        update={
            "home": home_of(settings).root,
            "database_url": SecretStr(database_url(settings)),
            "redis_url": SecretStr(redis_url(settings)),
        }
    )


@dataclass
class _Task:
    """A function in a thread, and what it raised."""

    work: Callable[[], None]
    error: BaseException | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error


def _serve(supervisor: Supervisor, stack: Stack, on_ready: Callable[[Stack], None] | None, stay: bool) -> None:
    """Keep the stack, with `on_ready` beside it: in a thread, since a child lives only as long as its starter."""
    if on_ready is not None:
        task = _Task(lambda: on_ready(stack))
        supervisor.run(until=lambda: not task.thread.is_alive())
        if task.error is not None:
            raise task.error
    if stay:
        supervisor.run()


def _free_port(host: str) -> int:
    with _bound(host, 0) as listener:
        return int(listener.getsockname()[1])


def _require_free(host: str, port: int) -> None:
    with _bound(host, port):
        pass


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound to the address.

    Raises:
        Conflict: another program listens there.
        SetupError: the address is not one of this machine, or not for this user.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"port {port} is in use by another program: choose another with --port") from error
        raise SetupError(f"cannot serve on {host} port {port}: {error.strerror or error}") from error
    return listener
