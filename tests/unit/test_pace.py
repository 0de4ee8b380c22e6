"""Threads decode a few at a time, and one at a time while the model has enough."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock, Thread

import pytest

from tests.ingest import wait_until
from worker.pace import Pace


def most_at_once(pace: Pace, expected: int, threads: int = 8) -> int:
    """How many of so many threads were inside together, once as many as expected have been."""
    lock, inside, seen = Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal inside, seen
        with pace:
            with lock:
                inside += 1
                seen = max(seen, inside)
            wait_until(lambda: seen >= expected)
            time.sleep(0.02)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(2 * threads)))
    return seen


@pytest.mark.parametrize(("has_enough", "expected"), [(False, 3), (True, 1)])
def test_as_many_as_may_do(has_enough: bool, expected: int) -> None:
    assert most_at_once(Pace(lambda: has_enough, most=3), expected) == expected


def entered(pace: Pace, leave: Event) -> Event:
    """A thread that enters and stays until told to leave; set once it is in."""
    is_in = Event()

    def stay() -> None:
        with pace:
            is_in.set()
            leave.wait(60)

    Thread(target=stay, daemon=True).start()
    return is_in


def test_those_that_wait_go_on_once_the_model_wants_more() -> None:
    enough, leave_first, leave = Event(), Event(), Event()
    enough.set()
    pace = Pace(enough.is_set, most=3)
    assert entered(pace, leave_first).wait(60)
    others = [entered(pace, leave) for _ in range(3)]
    assert not any(is_in.wait(0.05) for is_in in others)
    enough.clear()
    leave_first.set()
    assert all(is_in.wait(60) for is_in in others)
    leave.set()


def test_nobody_waits_long_to_be_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.pace.PATIENCE_S", 0.5)
    never, leave = Event(), Event()
    pace = Pace(lambda: True, most=2)
    assert entered(pace, never).wait(60)
    other = entered(pace, leave)
    assert not other.wait(0.1)
    assert other.wait(60)
    assert not entered(pace, leave).wait(0.8)
    leave.set()
    never.set()
