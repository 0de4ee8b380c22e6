"""Addresses of databases, as people write them and as libpq reads them."""

from __future__ import annotations

import pytest

from clipgres.database import libpq_url, sqlalchemy_url
from clipgres.errors import SetupError


@pytest.mark.parametrize(
    "url", ["postgresql://me@host/db", "postgres://me@host/db", "postgresql+psycopg2://me@host/db"]
)
def test_every_way_to_write_it_opens_with_psycopg(url: str) -> None:
    assert sqlalchemy_url(url).render_as_string() == "postgresql+psycopg://me@host/db"


@pytest.mark.parametrize("url", ["mysql://me@host/db", "not an address", ""])
def test_what_is_no_postgresql_address_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match="CLIPGRES_DATABASE_URL"):
        sqlalchemy_url(url)


def test_a_space_in_a_sockets_folder_survives_libpq() -> None:
    assert libpq_url("postgresql://me@/db?host=/my%20home") == "postgresql://me@/db?host=%2Fmy%20home"


def test_psql_gets_the_password() -> None:
    assert libpq_url("postgresql://me:a%2Bb@host/db") == "postgresql://me:a+b@host/db"
