"""A person's word on two pictures: the same, or not the same. It holds for their URLs, for ever and everywhere.

It is kept by URL and not by the rows of images: a picture that is deleted and imported again, into this collection or
one of another model, is still what the person said.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.duplicates.grouping import regroup
from clipgres.errors import BadRequest, NotFound

URLS_SQL = """
    SELECT im.url_key
    FROM {items} i
    LEFT JOIN clipgres.image im ON im.id = i.image_id
    WHERE i.namespace = :namespace AND i.key = :key
"""
DECIDE_SQL = text("""
    INSERT INTO clipgres.duplicate_decision (url_a, url_b, is_duplicate)
    VALUES (least(CAST(:one AS bytea), :other), greatest(CAST(:one AS bytea), :other), :is_duplicate)
    ON CONFLICT (url_a, url_b) DO UPDATE SET is_duplicate = excluded.is_duplicate, decided_at = now()
""")


def decide(
    engine: Engine, collection: Collection, one: str, other: str, *, is_duplicate: bool, namespace: str = ""
) -> None:
    """Remember whether two pictures, by their keys, are the same to a person, and group the collection by that.

    Raises:
        BadRequest: it is one picture, or a plain vector.
        NotFound: there is no such item.
    """
    with transaction(engine) as connection:
        sides = [_url_of(connection, collection, key, namespace) for key in (one, other)]
        if sides[0] == sides[1]:
            raise BadRequest(f'"{one[:60]}" and "{other[:60]}" are one picture: two are needed', "key")
        parameters = {"one": sides[0], "other": sides[1], "is_duplicate": is_duplicate}
        connection.execute(DECIDE_SQL, parameters)
        regroup(connection, collection)


def _url_of(connection: Connection, collection: Collection, key: str, namespace: str) -> bytes:
    statement = text(URLS_SQL.format(items=collection.item_table))
    row = connection.execute(statement, {"namespace": namespace, "key": key}).first()
    if row is None:
        raise NotFound(f'there is no item "{key[:60]}" in collection "{collection.name}"')
    if row.url_key is None:
        raise BadRequest(f'"{key[:60]}" is a plain vector, without a picture', "key")
    return bytes(row.url_key)
