"""Where the embedded servers keep things, and the addresses that follow from it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from clipgres.errors import SetupError
from clipgres.servers.account import Account
from clipgres.servers.home import Home, home_of
from clipgres.servers.postgres import embedded_database_url
from clipgres.servers.redis import embedded_redis_url
from clipgres.settings import Settings

ME = Account("me", is_service=False)


def test_sockets_lie_in_the_home() -> None:
    assert Home(Path("/srv/data"), ME).sockets == Path("/srv/data/sockets")


@pytest.mark.parametrize("name", ["x" * 100, "ü" * 50, "a,b"], ids=["long", "long in bytes", "a comma ends a host"])
def test_a_home_that_cannot_hold_a_socket_has_a_short_folder_of_its_own(name: str) -> None:
    homes = [Home(Path("/srv") / name, ME), Home(Path("/srv") / name, ME), Home(Path("/srv/other") / name, ME)]
    first, again, other = (home.sockets for home in homes)
    assert first == again != other
    assert first.parent == Path("/tmp") and first.name.startswith(f"clipgres-{os.geteuid()}-")  # noqa: S108


def test_the_home_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = home_of(Settings(home=Path("data"))).root
    monkeypatch.chdir("/")
    assert relative == home_of(Settings(home=tmp_path / "data")).root


def test_addresses_are_known_before_anything_runs(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "my home")
    url = make_url(embedded_database_url(settings))
    assert (url.username, url.database, url.host) == ("clipgres_owner", "clipgres", None)
    assert url.query["host"] == str(home_of(settings).sockets)
    assert embedded_redis_url(settings).startswith("unix:///")
    assert not (tmp_path / "my home").exists()


def test_logs_are_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "new" / "home", ME)
    home.prepare()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home.root, home.logs)] == [0o700, 0o700]


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"file.* for CLIPGRES_HOME \(.*\): set it to another folder"):
        Home(tmp_path / "file" / "home", ME).prepare()
