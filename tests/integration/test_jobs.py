"""Claims, leases, the sweep, and how one poisonous job is told from its neighbours."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import Engine, text

from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.jobs import MAX_CLAIMS, Claimed, Due, claim, due, release, renew, sweep
from tests.ingest import add_urls, ends, new_collection, scalar


def claimed(
    engine: Engine, collection: Collection, token: UUID, limit: int = 256, local: list[str] | None = None
) -> list[Claimed]:
    with transaction(engine) as connection:
        return claim(connection, collection.id, token, limit=limit, lease_s=30, local=local)


def urls(count: int, host: str = "example.org") -> list[str]:
    return [f"http://{host}/{number}.jpg" for number in range(count)]


def expire(engine: Engine) -> int:
    """What a sweep after the end of every lease gives back."""
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE clipgres.job SET leased_until = now() - interval '1 s' WHERE status = 'leased'")
        )
        return sweep(connection)


def test_two_claims_never_share_a_job(engine: Engine) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, urls(10))
    with engine.begin() as one, engine.begin() as other:
        first = claim(one, collection.id, uuid4(), limit=6, lease_s=30)
        second = claim(other, collection.id, uuid4(), limit=6, lease_s=30)
    assert len(first) == 6
    assert len(second) == 4
    assert not {job.image_id for job in first} & {job.image_id for job in second}


def test_a_claim_tells_what_there_is_to_do(engine: Engine) -> None:
    collection = new_collection(engine)
    [image] = add_urls(engine, collection, ["http://example.org/a.jpg"])
    [job] = claimed(engine, collection, uuid4())
    assert (job.image_id, job.url, job.host) == (image, "http://example.org/a.jpg", "example.org")
    assert (job.attempts, job.put_off_s, job.is_suspect, job.thumbnail) == (1, 0, False, None)


def test_renewing_moves_the_end_of_the_lease(engine: Engine) -> None:
    collection, token = new_collection(engine), uuid4()
    add_urls(engine, collection, urls(2))
    claimed(engine, collection, token)
    with transaction(engine) as connection:
        assert renew(connection, [token, uuid4()], lease_s=3_600) == 2
    assert scalar(engine, "SELECT bool_and(leased_until > now() + interval '59 min') FROM clipgres.job")


def test_releasing_does_not_count_the_attempt(engine: Engine) -> None:
    collection, token = new_collection(engine), uuid4()
    first, second = add_urls(engine, collection, urls(2))
    claimed(engine, collection, token)
    with transaction(engine) as connection:
        assert release(connection, token, {first: 0}) == 1
        assert release(connection, uuid4(), {second: 0}) == 0
    [job] = claimed(engine, collection, uuid4())
    assert (job.image_id, job.attempts) == (first, 1)


def test_a_sweep_gives_back_only_what_ran_out(engine: Engine) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, urls(3))
    claimed(engine, collection, uuid4(), limit=2)
    with transaction(engine) as connection:
        assert sweep(connection) == 0
    assert expire(engine) == 2
    assert ends(engine, collection) == {"pending stuck": 2, "pending": 1}


def test_claims_of_suspects_get_smaller_until_one_stands_alone(engine: Engine) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, urls(300))
    sizes = []
    for _ in range(MAX_CLAIMS):
        token = uuid4()
        jobs = claimed(engine, collection, token)
        sizes.append(len(jobs))
        with transaction(engine) as connection:
            connection.execute(
                text(
                    "UPDATE clipgres.job SET status = 'ok', lease_token = NULL, leased_until = NULL"
                    " WHERE status <> 'leased'"
                )
            )
        expire(engine)
    assert sizes == [256, 16, 1]
    assert ends(engine, collection)["failed stuck"] == 1


def test_attempts_that_came_to_an_end_are_no_deaths(engine: Engine) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, urls(1))
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.job SET attempts = 4, reason = 'server_error'"))
    deaths = 0
    while claimed(engine, collection, uuid4()):
        expire(engine)
        deaths += 1
    assert deaths == MAX_CLAIMS
    assert ends(engine, collection) == {"failed stuck": 1}


def test_a_new_job_before_suspects_is_claimed_without_them(engine: Engine) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, urls(300))
    claimed(engine, collection, uuid4())
    expire(engine)
    jobs = claimed(engine, collection, uuid4(), limit=100)
    assert [job.is_suspect for job in jobs] == [False] * 44


def test_without_a_network_only_what_needs_none_is_claimed(engine: Engine) -> None:
    collection = new_collection(engine)
    hosts = ["example.org", "127.0.0.1", "10.1.2.3", "10.1.2.3.example.org", "nas", "127.1", "[fd00::1]", "[2600::1]"]
    add_urls(engine, collection, [f"http://{host}/a.jpg" for host in hosts])
    jobs = claimed(engine, collection, uuid4(), local=["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"])
    assert {job.host for job in jobs} == {"127.0.0.1", "10.1.2.3", "nas", "fd00::1"}


def test_an_image_with_a_thumbnail_needs_no_network(engine: Engine) -> None:
    collection = new_collection(engine)
    image, _ = add_urls(engine, collection, urls(2))
    with transaction(engine) as connection:
        connection.execute(text("UPDATE clipgres.image SET state = 'ok' WHERE id = :id"), {"id": image})
        connection.execute(text("INSERT INTO clipgres.thumbnail VALUES (:id, 'webp')"), {"id": image})
    [job] = claimed(engine, collection, uuid4(), local=[])
    assert (job.image_id, job.thumbnail) == (image, b"webp")


def test_due_counts_up_to_a_cap_and_leaves_out_what_waits(engine: Engine) -> None:
    busy, idle = new_collection(engine, "busy"), new_collection(engine, "idle")
    add_urls(engine, busy, urls(7))
    add_urls(engine, idle, urls(1, "other.example.org"))
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE clipgres.job SET next_attempt_at = now() + interval '1 h' WHERE collection_id = :id"),
            {"id": idle.id},
        )
        assert due(connection, cap=5) == [Due(busy.id, 5)]
