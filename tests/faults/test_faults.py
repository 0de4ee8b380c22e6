"""A few rounds of faults in a stack of their own, and whether what looks for losses would see one."""

from __future__ import annotations

import pytest

from clipgres.collections import find
from clipgres.database import transaction
from clipgres.reasons import Reason
from tests.conftest import private_folder
from tests.faults.catalogue import FAULTS
from tests.faults.invariants import Verdict, check_ends, check_rows, is_ended, jobs
from tests.faults.rounds import Round, plan, play
from tests.faults.stack import Stack
from tests.faults.starting import run

SEED = 1
ROUNDS = {1: ("worker-killed", "redis-killed-empty"), 2: ("postgres-killed",), 3: ("same-urls-at-once",)}

LOSE_SQL = "DELETE FROM clipgres.job WHERE collection_id = %(collection)s AND image_id = %(image)s"
REPEAT_SQL = """
    INSERT INTO {items} (key, image_id, embedding)
    SELECT 'again', image_id, embedding FROM {items} WHERE image_id = %(image)s
"""
HALVE_SQL = "DELETE FROM clipgres.thumbnail WHERE image_id = %(image)s"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_comes_twice() -> None:
    results: list[Round] = []
    verdicts: list[Verdict] = []

    def work(stack: Stack) -> None:
        results.extend(play(stack, SEED, number, names) for number, names in ROUNDS.items())
        verdicts.append(break_on_purpose(stack))

    with private_folder() as folder:
        run(folder, work)
    for result in results:
        assert not result.is_broken, result
        assert result.answered
    assert [result.urls for result in results] == [220, 220, 260]
    [verdict] = verdicts
    assert (verdict.lost, verdict.duplicate, verdict.half_written) == (1, 1, 2)


def break_on_purpose(stack: Stack) -> Verdict:
    """Lose a job, repeat an embedding and take a thumbnail away; what is said of that."""
    verdict = Verdict()
    with transaction(stack.engine) as connection:
        collection = find(connection, "round-1-a")
    with stack.admin() as admin:
        before = jobs(admin, [collection])
        images = admin.execute(f"SELECT image_id FROM {collection.item_table} ORDER BY image_id LIMIT 3").fetchall()
        for statement, [image] in zip((LOSE_SQL, REPEAT_SQL, HALVE_SQL), images, strict=True):
            parameters = {"collection": collection.id, "image": image}
            admin.execute(statement.format(items=collection.item_table), parameters)
        assert all(is_ended(state) for state in before.values())
        ends = {job: Reason.stored_as(state[1]) if state[1] else None for job, state in before.items()}
        check_ends(jobs(admin, [collection]), ends, verdict)
        check_rows(admin, [collection], verdict)
    return verdict


def test_each_fault_comes_before_any_comes_again() -> None:
    names = list(FAULTS)
    planned = plan(7, range(1, 2 * len(names) + 1), names)
    assert {planned[number][0] for number in range(1, len(names) + 1)} == set(names)
    assert {planned[number][0] for number in range(len(names) + 1, 2 * len(names) + 1)} == set(names)
    assert any(len(faults) == 2 for faults in planned.values())


def test_a_round_is_played_again_by_its_seed_and_number() -> None:
    names = list(FAULTS)
    assert plan(7, range(40, 45), names)[42] == plan(7, [42], names)[42]
    assert plan(7, range(1, 45), names) != plan(8, range(1, 45), names)


def test_each_fault_says_in_a_line_what_happens() -> None:
    assert all(fault.about for fault in FAULTS.values())
