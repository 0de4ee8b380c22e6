"""Cursors: where the next page of a search begins, signed, so that only what was given out is taken back."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

from itsdangerous import BadData, URLSafeSerializer

from clipgres.errors import BadRequest

SALT = "clipgres.cursor"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The name under which a search is kept, and the place in its ranking where the next page begins.

    `rows_at` is where the rows stand in what is kept of the ranking; 0 is not known yet: the next page is the second.
    """

    search: str
    place: int = 0
    rows_at: int = 0


def write_cursor(cursor: Cursor, secret: bytes) -> str:
    """A cursor as it goes out: some 80 characters that fit into a URL."""
    return str(_serializer(secret).dumps(astuple(cursor)))


def read_cursor(written: str, secret: bytes) -> Cursor:
    """A cursor that came back.

    Raises:
        BadRequest: it is not one that was signed with this secret.
    """
    try:
        return Cursor(*_serializer(secret).loads(written.encode(errors="replace")))
    except BadData as error:
        raise BadRequest(
            "cursor: it is damaged, or the pages it belongs to are gone: search again", "cursor"
        ) from error


def _serializer(secret: bytes) -> URLSafeSerializer:
    return URLSafeSerializer(secret, SALT, signer_kwargs={"digest_method": hashlib.sha256})
