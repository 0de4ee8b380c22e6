"""Who the servers run as."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from signal import SIGINT

import pytest

from clipgres.errors import SetupError
from clipgres.servers.account import SERVICE_USER, Account, launched_as, server_account, user_id

SERVICE = Account("someone", is_service=True)
ME = Account("me", is_service=False)


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_only_root_needs_a_service_user() -> None:
    assert server_account().is_service == (os.geteuid() == 0) == (server_account().name == SERVICE_USER)


def test_an_own_process_stays_the_users_own() -> None:
    assert (
        launched_as(ME, ["postgres", "-D", "x"])
        == launched_as(None, ["postgres", "-D", "x"])
        == ["postgres", "-D", "x"]
    )


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here: Linux's util-linux has it")
def test_a_service_process_gives_up_roots_powers() -> None:
    command = launched_as(SERVICE, ["postgres", "-D", "x"], SIGINT)
    assert {"--reuid=someone", "--regid=someone", "--init-groups", "--pdeathsig=INT"} <= set(command)
    assert command[-4:] == ["--", "postgres", "-D", "x"]


@pytest.mark.usefixtures("empty_path")
def test_a_machine_without_setpriv_is_named() -> None:
    assert launched_as(ME, ["redis-server"], SIGINT) == ["redis-server"]
    with pytest.raises(SetupError, match="needs `setpriv`"):
        launched_as(SERVICE, ["redis-server"])


@pytest.mark.usefixtures("empty_path")
def test_a_service_user_that_cannot_be_made_says_why_and_what_else_to_do() -> None:
    with pytest.raises(
        SetupError, match=r"no useradd on this machine\): make that user, or run clipgres as an ordinary"
    ):
        user_id(Account("no-such-user-here", is_service=True))
