"""Settings: read once, from the environment or a file, and a typing error is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipgres.errors import SetupError
from clipgres.settings import load_settings


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_FETCH_THREADS", "7")
    assert load_settings().fetch_threads == 7


def test_a_file_in_the_working_directory_sets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clipgres.toml").write_text('model = "tiny-clip"\n')
    monkeypatch.chdir(tmp_path)
    assert load_settings().model == "tiny-clip"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clipgres.toml").write_text("fetch_threads = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPGRES_FETCH_THREADS", "7")
    assert load_settings().fetch_threads == 7


def test_an_unknown_variable_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_REDIS_URI", "redis://x")
    with pytest.raises(SetupError, match="unknown setting CLIPGRES_REDIS_URI; did you mean CLIPGRES_REDIS_URL"):
        load_settings()


def test_an_unknown_name_in_the_file_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clipgres.toml").write_text("fetch_thread = 3\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match="did you mean CLIPGRES_FETCH_THREADS"):
        load_settings()


def test_a_value_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_FETCH_THREADS", "many")
    with pytest.raises(SetupError, match="CLIPGRES_FETCH_THREADS: Input should be a valid integer"):
        load_settings()


def test_passwords_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_DATABASE_URL", "postgresql://me:hunter2@host/db")
    assert "hunter2" not in repr(load_settings())
