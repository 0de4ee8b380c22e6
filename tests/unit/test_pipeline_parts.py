"""The parts of the pipeline that need no server: back-off, witness, line, batches, halving, feeding."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network
from queue import SimpleQueue

import numpy as np
import pytest

from clipgres.encoder import Vectors
from clipgres.errors import ImageError, ModelError, PermanentImageError, TransientImageError
from clipgres.fetching.addresses import AllowedNetwork
from clipgres.jobs import Claimed, Due
from clipgres.preprocess import Pixels
from clipgres.queue import broker_url
from clipgres.reasons import Reason
from clipgres.schema import JobStatus
from tests.fakes import FakeEncoder
from tests.ingest import wait_until
from worker.feeder import wanted
from worker.line import Line
from worker.network import PROBE_JOBS, Network
from worker.outcome import failed_outcome, held_delay_s, retry_delay_s
from worker.stages import Embedded, batches, embed, header_text, validator_text


def job(attempts: int = 1, put_off_s: float = 0) -> Claimed:
    return Claimed(
        image_id=1, url="http://h/", host="h", attempts=attempts, put_off_s=put_off_s, is_suspect=False, thumbnail=None
    )


@pytest.mark.parametrize(
    ("attempts", "shortest", "longest"),
    [
        (1, 4, 6),  # the base, give or take a fifth
        (2, 16, 24),
        (3, 64, 96),
        (4, 256, 384),
    ],
)
def test_each_wait_is_four_times_the_last(attempts: int, shortest: float, longest: float) -> None:
    waits = [retry_delay_s(attempts, 5) for _ in range(100)]
    assert shortest <= min(waits) < max(waits) <= longest


@pytest.mark.parametrize(("previous", "following"), [(0, 30), (30, 60), (60, 120), (1_800, 3_600), (3_600, 3_600)])
def test_waits_for_the_network_grow_to_an_hour(previous: float, following: float) -> None:
    assert held_delay_s(previous) == following


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_ends_after_its_attempts(reason: Reason) -> None:
    last = failed_outcome(job(reason.max_attempts), ImageError(reason), retry_base_s=5)
    assert (last.status, last.reason) == (JobStatus.FAILED, reason)
    if reason.is_transient:
        before = failed_outcome(job(reason.max_attempts - 1), ImageError(reason), retry_base_s=5)
        assert (before.status, before.is_counted) == (JobStatus.PENDING, True)


def test_a_host_that_asks_for_time_gets_it() -> None:
    error = TransientImageError(Reason.RATE_LIMITED, http_status=429, retry_after_s=900)
    assert failed_outcome(job(), error, retry_base_s=5).delay_s == 900


def test_a_held_job_keeps_its_attempts_and_its_reason() -> None:
    held = failed_outcome(job(5, put_off_s=60), TransientImageError(Reason.TIMEOUT), retry_base_s=5, is_held=True)
    assert (held.status, held.reason, held.is_counted, held.delay_s) == (
        JobStatus.PENDING, Reason.TIMEOUT, False, 120,
    )  # fmt: skip


@pytest.fixture
def network() -> Network:
    return Network([AllowedNetwork(ip_network("10.0.0.0/8")), AllowedNetwork(ip_network("fd00::/8"), 80)])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.9.8.7", "fd00::1", "localhost", "nas", "printer.local"])
def test_a_local_host_needs_no_witness_and_is_none(network: Network, host: str) -> None:
    assert not network.explains(host, Reason.TIMEOUT)
    network.note(host, PermanentImageError(Reason.NOT_FOUND))
    assert network.explains("example.org", Reason.TIMEOUT)


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.REFUSED, Reason.BROKEN_IMAGE, Reason.TLS_FAILED])
def test_any_reply_is_a_witness(network: Network, reason: Reason) -> None:
    network.note("example.org", ImageError(reason))
    assert not network.explains("dead.example.org", Reason.DNS_FAILED)


@pytest.mark.parametrize(
    "reason", [Reason.DNS_FAILED, Reason.UNREACHABLE, Reason.TIMEOUT, Reason.STUCK, Reason.BAD_URL]
)
def test_a_failure_without_reply_is_none(network: Network, reason: Reason) -> None:
    network.note("example.org", ImageError(reason))
    assert network.explains("dead.example.org", Reason.DNS_FAILED)


def test_a_picture_from_a_thumbnail_is_no_witness(network: Network) -> None:
    network.note("example.org", Embedded(None, None))
    assert network.explains("dead.example.org", Reason.DNS_FAILED)


def test_what_only_a_host_can_cause_is_never_held(network: Network) -> None:
    assert not network.explains("example.org", Reason.REFUSED)


def test_a_network_that_seems_dead_is_tried_with_a_few_jobs(network: Network) -> None:
    assert network.room(256) == 256
    for _ in range(PROBE_JOBS):
        network.explains("example.org", Reason.DNS_FAILED)
    assert network.is_suspected
    assert [network.room(256), network.room(256)] == [PROBE_JOBS, 0]
    network.note_reply("example.org")
    assert network.room(256) == 256


def test_a_witness_is_looked_for_once_in_a_while(network: Network) -> None:
    assert not network.wants_a_look()
    network.explains("example.org", Reason.DNS_FAILED)
    assert [network.wants_a_look(), network.wants_a_look()] == [True, False]


class Work:
    """Work that counts how many jobs of a host run at once, and waits for leave."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, job: str) -> None:
        with self.lock:
            self.now[job[0]] += 1
            self.most[job[0]] = max(self.most[job[0]], self.now[job[0]])
        self.leave.wait(60)
        with self.lock:
            self.now[job[0]] -= 1
            self.done.append(job)


def test_a_host_gets_no_more_than_its_share() -> None:
    work = Work()
    line = Line(work, lambda job: job[0], threads=8, per_host=2)
    line.add([f"a{number}" for number in range(6)] + ["b0"])
    assert wait_until(lambda: work.now == {"a": 2, "b": 1})
    work.leave.set()
    assert wait_until(lambda: len(work.done) == 7)
    assert work.most == {"a": 2, "b": 1}
    line.close()


def test_what_has_not_begun_can_be_withdrawn() -> None:
    work = Work()
    line = Line(work, lambda job: job[0], threads=2, per_host=1)
    line.add(["a0", "a1", "b0", "c0", "c1"])
    assert wait_until(lambda: set(line.running()) == {"a0", "b0"})
    assert line.withdraw(lambda job: job == "a1") == ["a1"]
    assert sorted(line.withdraw()) == ["c0", "c1"]
    line.add(["c2"])
    work.leave.set()
    assert wait_until(lambda: len(work.done) == 3)
    assert sorted(work.done) == ["a0", "b0", "c2"]
    line.close()


def test_pictures_go_to_the_model_in_batches() -> None:
    arrivals: SimpleQueue[int | None] = SimpleQueue()
    for arrival in (1, 2, 3, 4, 5, None):
        arrivals.put(arrival)
    assert list(batches(arrivals, 2)) == [[1, 2], [3, 4], [5]]


class Choosy(FakeEncoder):
    """Fails on any batch with a black picture."""

    def embed(self, prepared: Sequence[Pixels]) -> Vectors:
        if any(pixels.max() == 0 for pixels in prepared):
            raise RuntimeError("CUDA error")
        return super().embed(prepared)


def pixels(*levels: int) -> list[Pixels]:
    return [np.full((4, 4, 3), level, np.uint8) for level in levels]


def test_one_picture_the_model_fails_on_costs_no_other() -> None:
    vectors = embed(pixels(9, 0, 8, 7, 0), Choosy())
    assert [vector is None for vector in vectors] == [False, True, False, False, True]


def test_a_model_that_fails_on_everything_is_to_blame_itself() -> None:
    with pytest.raises(ModelError, match="no usable vector for any picture"):
        embed(pixels(0, 0, 0, 0), Choosy())


@pytest.mark.parametrize(
    ("dues", "waiting", "slots", "messages"),
    [
        ({1: 1}, {}, 4, [1]),  # one job needs one worker
        ({1: 1_000}, {}, 4, [1, 1, 1, 1]),  # no more than there are slots
        ({1: 1_000}, {1: 3}, 4, [1]),
        ({1: 1_000, 2: 25}, {1: 1}, 2, [1, 2, 2]),
        ({1: 20, 2: 20, 3: 20, 4: 20, 5: 20}, {}, 2, [1, 1, 2, 2, 3, 3, 4, 5]),  # a few messages a slot in all
        ({1: 10, 2: 10, 3: 10, 4: 10, 5: 10}, {1: 1}, 1, [2, 3, 4, 5]),  # and one for each collection
        ({1: 10}, {7: 4}, 1, []),
    ],
)
def test_the_queue_gets_what_the_slots_can_use(
    dues: dict[int, int], waiting: dict[int, int], slots: int, messages: list[int]
) -> None:
    entries = [Due(collection, jobs) for collection, jobs in dues.items()]
    assert sorted(wanted(entries, Counter(waiting), slots, batch_images=10)) == messages


@pytest.mark.parametrize(
    ("redis_url", "broker"),
    [
        ("redis://:secret@host:6380/2", "redis://:secret@host:6380/2"),
        ("rediss://host/0", "rediss://host/0"),
        ("unix:///tmp/a%20b/redis.sock?db=3", "redis+socket:///tmp/a%20b/redis.sock?virtual_host=3"),
        ("unix://:secret@/tmp/redis.sock", "redis+socket://:secret@/tmp/redis.sock?virtual_host=0"),
    ],
)
def test_celery_gets_the_address_in_its_own_form(redis_url: str, broker: str) -> None:
    assert broker_url(redis_url) == broker


def test_a_header_is_stored_without_what_the_database_refuses() -> None:
    assert header_text("image/\x00jpeg\r\n") == "image/jpeg"
    assert header_text("x" * 500) == "x" * 200
    assert header_text(None) is None


@pytest.mark.parametrize(
    ("said", "kept"), [('W/"1"', 'W/"1"'), ('"' + "x" * 300 + '"', None), ('"\x9b"', None), (None, None)]
)
def test_half_a_validator_is_none(said: str | None, kept: str | None) -> None:
    assert validator_text(said) == kept
