"""How things stand, in sentences: who works, what waits, how fast it goes, and what holds it up."""

from __future__ import annotations

from collections.abc import Sequence

from clipgres.backlog import Backlog, PausedHost
from clipgres.presence import WorkerInfo
from clipgres.wording import count, duration, listed, many

SHOWN_HOSTS = 3


def workers_line(alive: Sequence[WorkerInfo] | None) -> str:
    """Who works, and what troubles whom, a line each; None: the queue, which knows them, does not answer."""
    if alive is None:
        return "The queue does not answer; nothing is lost by that. `clipgres doctor` says more."
    if not alive:
        return "No worker is alive: `clipgres up` starts one."
    troubles = "".join(f"\n{worker.name}: {worker.trouble}" for worker in alive if worker.trouble)
    return f"{many(len(alive), 'worker')} alive.{troubles}"


def backlog_lines(now: Backlog) -> list[str]:
    """What is to be done still, how fast it goes, and what holds it up: a line each."""
    lines = [f"{count(now.due)} due, {count(now.leased)} under way, {count(now.waiting)} to be tried again later"]
    if now.next_due_in_s is not None:
        lines[0] += f", the first in {duration(now.next_due_in_s)}"
    if now.eta_s:
        lines.append(f"{now.rate:.1f} a second, about {duration(now.eta_s)} to go")
    if now.oldest_wait_s is not None:
        lines.append(f"the oldest has waited {duration(now.oldest_wait_s)}")
    if now.held:
        lines.append(
            f"{many(now.held, 'picture')} held for the network, which does not answer: they go on by themselves"
        )
    for one in now.paused:
        waits = one.due + one.waiting
        lines.append(
            f"paused: {one.collection}, {many(waits, 'picture')} waiting; "
            f"`clipgres resume --collection {one.collection}` lets it go on"
        )
    if now.hosts:
        shown = [_left_alone(host, now) for host in now.hosts[:SHOWN_HOSTS]]
        more = now.paused_hosts - len(shown)
        lines.append(f"left alone for a while: {listed([*shown, *([many(more, 'other')] if more else [])])}")
    return [f"{line[:1].upper()}{line[1:]}." for line in lines]


def _left_alone(host: PausedHost, now: Backlog) -> str:
    remaining = duration((host.paused_until - now.at).total_seconds())
    return f"{host.name} for {remaining}" + (f" ({host.reason})" if host.reason else "")
