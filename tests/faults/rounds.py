"""One round: lists are taken, faults come in the middle, and the stack must recover by itself with nothing lost."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from redis.exceptions import RedisError

from tests.faults.catalogue import FAULTS
from tests.faults.invariants import Verdict, check_counts, check_ends, check_rows, jobs
from tests.faults.ledger import Ledger, WorkList
from tests.faults.scene import Broken, Fault, Scene
from tests.faults.searches import Searches
from tests.faults.stack import Stack
from tests.faults.watch import Watch

FIRST_URLS = 160
SECOND_URLS = 60
SHARED_URLS = 20
PAIR_EVERY = 6
RECOVERY_S = 60.0
PATIENCE_S = 180.0


@dataclass
class Round:
    """What came of one round; recovery is in seconds from the end of the fault, None where nothing was left to do."""

    number: int
    faults: Sequence[str]
    urls: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    answered: int = 0
    refused: int = 0
    failed_searches: int = 0
    first_s: float | None = None
    all_s: float = 0.0
    took_s: float = 0.0

    def recovered(self, watch: Watch, over_at: float) -> None:
        """Note how long it took from the end of the fault."""
        moved_at = watch.moved_after(over_at)
        self.first_s = None if moved_at is None else moved_at - over_at
        self.all_s = max(0.0, watch.finished_at() - over_at)

    def judge(self, ledger: Ledger, watch: Watch, searches: Searches) -> None:
        """Hold what is there against what was asked for, by SQL."""
        self.verdict.add(watch.verdict)
        collections = list(ledger.collections.values())
        expected = ledger.ends()
        with ledger.stack.admin() as connection:
            found = jobs(connection, collections)
            check_rows(connection, collections, self.verdict)
            check_ends(found, expected, self.verdict)
            check_counts(connection, ledger, found, self.verdict)
        self.urls = len(expected)
        self.answered, self.refused = searches.answered, searches.refused
        self.failed_searches = searches.others.total()
        self.verdict.say("searches neither answered nor refused", self.failed_searches, dict(searches.others))

    @property
    def is_broken(self) -> bool:
        """Whether anything was not as it must be."""
        return self.verdict.is_broken or bool(self.failed_searches) or max(self.first_s or 0, self.all_s) > RECOVERY_S


def plan(seed: int, numbers: Sequence[int], names: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Which faults each round has: each once before any comes again, and two at once now and then."""
    planned: dict[int, tuple[str, ...]] = {}
    for number in numbers:
        turn, place = divmod(number - 1, len(names))
        deck = random.Random(f"{seed} {turn}").sample(names, len(names))
        rng = random.Random(f"{seed} pair {number}")
        others = [name for name in names if name != deck[place] and not FAULTS[name].is_alone]
        is_pair = number % PAIR_EVERY == 0 and not FAULTS[deck[place]].is_alone and others
        planned[number] = (deck[place], rng.choice(others)) if is_pair else (deck[place],)
    return planned


def play(stack: Stack, seed: int, number: int, names: Sequence[str]) -> Round:
    """Play one round to its end, however it ends."""
    result = Round(number, names)
    for child in stack.running:
        stack.process(child)
        stack.wait_for(child)
    began = time.monotonic()
    folder = stack.home.root / "lists"
    folder.mkdir(exist_ok=True)
    ledger = Ledger(stack, folder)
    rng = random.Random(f"{seed} {number}")
    name = f"round-{number}"
    first, second = _lists(ledger, rng, name)
    ledger.add(first)
    with Watch(stack, ledger) as watch, Searches(stack.web, first.collection) as searches:
        scenes = [Scene(name, stack, random.Random(f"{seed} {number} {fault}"), ledger, watch) for fault in names]
        try:
            share = rng.uniform(0.1, 0.5)
            scenes[0].wait("work is under way", lambda: watch.done >= share * len(first.ends), 90)
            over_at = _inject(scenes, [FAULTS[fault] for fault in names], second)
            scenes[0].wait("every URL ends", watch.is_finished, PATIENCE_S)
            result.recovered(watch, over_at)
        except Exception as error:
            result.verdict.other += result.verdict.say(f"{type(error).__name__}: {error}", 1)
    result.judge(ledger, watch, searches)
    result.took_s = time.monotonic() - began
    return result


def _lists(ledger: Ledger, rng: random.Random, name: str) -> tuple[WorkList, WorkList]:
    """The list that is at work when the fault comes, and the one that is added meanwhile; they share some URLs."""
    site = ledger.stack.site
    ends = site.urls(rng, name, FIRST_URLS)
    others = site.urls(rng, f"{name}-more", SECOND_URLS - SHARED_URLS)
    shared = {url: ends[url] for url in rng.sample(list(ends), SHARED_URLS)}
    return ledger.write(f"{name}-a", ends), ledger.write(f"{name}-b", others | shared)


def _one_of(count: int, fault: Fault, scene: Scene) -> float:
    """Make one of some faults, of which another may take away the server that it works on; returns when it was over."""
    over_at = None
    with suppress(*((RedisError, psycopg.OperationalError) if count > 1 else ())):
        over_at = fault.inject(scene)
    return time.monotonic() if over_at is None else over_at


def _inject(scenes: Sequence[Scene], faults: Sequence[Fault], second: WorkList) -> float:
    """Make the faults happen together, add a list meanwhile, and return when all is over.

    Raises:
        Broken: the list was not accepted at once, though no fault stands in its way.
    """
    ledger = scenes[0].ledger
    with ThreadPoolExecutor(len(faults)) as pool:
        under_way = [pool.submit(_one_of, len(faults), each, scene) for each, scene in zip(faults, scenes, strict=True)]
        scenes[0].pause(0, 1)
        ledger.add(second)
        over_at = max(each.result() for each in under_way)
    if ledger.refusals and all(fault.takes_lists for fault in faults):
        raise Broken(f"a list was not accepted at once: {ledger.refusals[0]}")
    return over_at
