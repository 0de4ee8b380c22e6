"""The operating-system user the embedded servers run as: whoever runs clipgres, or for root a service user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from clipgres.errors import SetupError

SERVICE_USER = "clipgres"


@dataclass(frozen=True)
class Account:
    """A user by name; `is_service` when it is not the one that runs clipgres."""

    name: str
    is_service: bool


def server_account() -> Account:
    """Who the servers run as, the same in every process of this user; for root the user may still have to be made.

    Raises:
        SetupError: the user that runs this has no name, which PostgreSQL needs.
    """
    if os.geteuid() == 0:
        return Account(SERVICE_USER, is_service=True)
    try:
        return Account(pwd.getpwuid(os.geteuid()).pw_name, is_service=False)
    except KeyError as error:
        raise SetupError(
            f"user id {os.geteuid()} has no name on this machine, which PostgreSQL needs: "
            "add it to /etc/passwd, or set CLIPGRES_DATABASE_URL to another server"
        ) from error


def user_id(account: Account) -> int:
    """The number of the account, made with `useradd` if it is the service user and not there yet.

    Raises:
        SetupError: it cannot be made; the text says what useradd answered and what else can be done.
    """
    try:
        return pwd.getpwnam(account.name).pw_uid
    except KeyError:
        _make_service_user(account.name)
        return pwd.getpwnam(account.name).pw_uid


def _make_service_user(name: str) -> None:
    options = ["--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent", "--shell=/usr/sbin/nologin"]
    command = ["useradd", *options, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        answer = "" if done.returncode == 0 else done.stderr.strip().replace("\n", "; ") or f"code {done.returncode}"
    except FileNotFoundError:
        answer = "there is no useradd on this machine"
    if answer:
        raise SetupError(
            f"PostgreSQL does not run as root, and a system user {name!r} for it could not be made ({answer}): "
            "make that user, or run clipgres as an ordinary user, or set CLIPGRES_DATABASE_URL"
        )


def launched_as(account: Account | None, command: Sequence[str], death_signal: Signals | None = None) -> list[str]:
    """The command, run as the account if any; the kernel sends it `death_signal` when the thread that starts it ends.

    Raises:
        SetupError: the account is another user and `setpriv` is missing.
    """
    is_other_user = account is not None and account.is_service
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if is_other_user:
            raise SetupError("running the servers from root needs `setpriv` (package util-linux): install it")
        return list(command)
    options = [f"--pdeathsig={death_signal.name.removeprefix('SIG')}"] if death_signal else []
    if account is not None and account.is_service:
        options += [f"--reuid={account.name}", f"--regid={account.name}", "--init-groups", "--inh-caps=-all"]
        options += ["--no-new-privs"]
    return [setpriv, *options, "--", *command] if options else list(command)


def require_reachable(account: Account, folder: Path) -> None:
    """Make sure that the account can get to an existing folder.

    Raises:
        SetupError: naming the first folder on the way that it may not enter, and what to do.
    """
    steps = [str(step) for step in [*reversed(folder.parents), folder]]
    script = 'for step; do test -x "$step" || { printf %s "$step"; exit 3; }; done'
    command = launched_as(account, ["sh", "-c", script, "sh", *steps])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        raise SetupError(
            f"the servers run as user {account.name!r}, which may not enter {done.stdout}: "
            f"set CLIPGRES_HOME to a folder it can reach, or run `chmod o+x` on that one"
        )
    if done.returncode:
        raise SetupError(f"cannot run a program as user {account.name!r}: {done.stderr.strip()}")
