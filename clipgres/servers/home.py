"""Where the embedded servers keep things: one folder, and one short private folder for their sockets."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipgres.errors import SetupError
from clipgres.servers.account import Account, require_reachable, server_account, user_id
from clipgres.settings import Settings

SOCKET_PATH_MAX_BYTES = 107
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True)
class Home:
    """The folder `root` and what lies in it; nothing is made until `prepare`."""

    root: Path
    account: Account

    @property
    def postgres(self) -> Path:
        """Data and access rules of PostgreSQL, owned by the account."""
        return self.root / "postgres"

    @property
    def redis(self) -> Path:
        """Data of Redis, owned by the account."""
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        """One log file a child."""
        return self.root / "logs"

    @property
    def programs(self) -> Path:
        """Copies of server programs that a service user cannot reach where they were installed."""
        return self.root / "programs"

    @property
    def sockets(self) -> Path:
        """The folder of the sockets: in the home, or where that cannot be a short one named by the home's hash.

        A path can be too deep for a socket, and libpq takes a comma for the end of a host.
        """
        inside = self.root / "sockets"
        if len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_MAX_BYTES and "," not in str(inside):
            return inside
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path("/run" if self.account.is_service else "/tmp") / f"clipgres-{os.geteuid()}-{digest}"  # noqa: S108 - see _own

    @property
    def lock(self) -> Path:
        """The file that a running stack holds."""
        return self.root / "running.lock"

    def log(self, name: str) -> Path:
        """The log file of one child."""
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Make the home itself and the folder of logs.

        Raises:
            SetupError: they cannot be made.
        """
        with self._said_errors():
            if not self.root.is_dir():
                self.root.mkdir(parents=True)
                self.root.chmod(0o711 if self.account.is_service else 0o700)
            self.logs.mkdir(mode=0o700, exist_ok=True)

    def prepare_servers(self) -> None:
        """Make the home and the folders of the servers, private to the account; what is there already must be so.

        Raises:
            SetupError: a folder cannot be made or reached, or belongs to someone else.
        """
        self.prepare()
        owner = user_id(self.account)
        require_reachable(self.account, self.root)
        with self._said_errors():
            for folder in (self.postgres, self.redis, self.sockets):
                _own(folder, owner, self.account.name)

    @contextmanager
    def _said_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self.root
            raise SetupError(
                f"cannot use {place} for CLIPGRES_HOME ({error.strerror}): set it to another folder"
            ) from error


def home_of(settings: Settings) -> Home:
    """The home these settings name, the same in every process and working directory."""
    return Home(settings.home.expanduser().resolve(), server_account())


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it.

    Raises:
        SetupError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SetupError(f"the package {name!r} is not installed here: install clipgres anew, or name another server")
    return Path(spec.origin).parent


def _own(folder: Path, owner: int, name: str) -> None:
    """Make the folder mode 0700 for the owner; refuse one that another user put there."""
    try:
        folder.mkdir(mode=0o700)
        if owner != os.geteuid():
            shutil.chown(folder, name, name)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise SetupError(f"{folder} is not a folder of user {name!r}: remove it, or set CLIPGRES_HOME to another place")
    folder.chmod(0o700)
