"""`python -m tests.faults --rounds 50 [--seed N] [--only NAME,...]`: faults in a stack at work, and what must hold."""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.faults.catalogue import FAULTS
from tests.faults.rounds import Round, plan, play
from tests.faults.stack import Stack
from tests.faults.starting import run

KEPT = ("logs", "lists")


@click.command()
@click.option("--rounds", default=50, show_default=True, type=click.IntRange(1))
@click.option("--seed", type=int, help="What all choices come from; none: a new one, which is printed.")
@click.option("--only", default="", metavar="NAME,...", help="Draw from these faults alone.")
@click.option("--first", default=1, show_default=True, type=click.IntRange(1), help="The first round: plays one again.")
@click.option("--keep", is_flag=True, help="Keep logs and lists even if nothing broke.")
def main(rounds: int, seed: int | None, only: str, first: int, keep: bool) -> None:
    """Break a stack at work, round after round, and check that nothing is lost, repeated or half-written."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    names = [name.strip() for name in only.split(",")] if only else list(FAULTS)
    if unknown := set(names) - set(FAULTS):
        raise click.UsageError(f"no such fault: {', '.join(sorted(unknown))}; there are: {', '.join(FAULTS)}")
    folder = Path(tempfile.mkdtemp(prefix="clipgres-faults-", dir="/tmp"))
    folder.chmod(0o711)
    results: list[Round] = []
    click.echo(f"seed {seed}; logs are in {folder / 'logs'}")
    try:
        run(folder, lambda stack: _play_all(stack, seed, range(first, first + rounds), names, results))
    finally:
        if results:
            show(results)
    broken = [result for result in results if result.is_broken]
    for result in broken:
        click.echo(f"broken: round {result.number} ({' + '.join(result.faults)}); again: {_again(seed, only, result)}")
    _tidy(folder, keep=keep or bool(broken))
    sys.exit(1 if broken or not results else 0)


def _play_all(stack: Stack, seed: int, numbers: Sequence[int], names: Sequence[str], results: list[Round]) -> None:
    lacking = {name: why for name in names if (why := FAULTS[name].lacks(stack))}
    for name, why in lacking.items():
        click.echo(f"left out: {name}: {why}")
    planned = plan(seed, numbers, [name for name in names if name not in lacking])
    for number, faults in planned.items():
        if stack.is_over.is_set():
            return
        stack.say(f"round {number}: {' + '.join(faults)}")
        result = play(stack, seed, number, faults)
        results.append(result)
        click.echo(f"{number - numbers[0] + 1}/{len(numbers)} {line(result)}")
        for seen in result.verdict.seen:
            click.echo(f"    {seen}")


def line(result: Round) -> str:
    """One round in one line."""
    first = "-" if result.first_s is None else f"{result.first_s:.1f} s"
    searches = f"{result.answered} answered, {result.refused} refused, {result.failed_searches} failed"
    return (
        f"{' + '.join(result.faults)}: {result.urls} URLs in {result.took_s:.0f} s, first after {first}, "
        f"all after {result.all_s:.1f} s; searches {searches}: {'BROKEN' if result.is_broken else 'held'}"
    )


def show(results: Sequence[Round]) -> None:
    """Print what came of each kind of fault."""
    kinds: defaultdict[str, list[Round]] = defaultdict(list)
    for result in results:
        kinds[result.faults[0] if len(result.faults) == 1 else "two at once"].append(result)
    columns = ("fault", "rounds", "URLs", "lost", "dup.", "half", "other", "searches", "refused", "failed")
    table = Table(*columns, "first s", "all s", title="Median and worst seconds from the end of the fault")
    for kind, rounds in sorted(kinds.items()):
        table.add_row(kind, *_figures(rounds))
    table.add_section()
    table.add_row("all", *_figures(results))
    Console(width=140 if not sys.stdout.isatty() else None).print(table)


def _figures(rounds: Sequence[Round]) -> list[str]:
    verdicts = [each.verdict for each in rounds]
    found = [
        [getattr(verdict, name) for verdict in verdicts] for name in ("lost", "duplicate", "half_written", "other")
    ]
    searches = [[getattr(each, name) for each in rounds] for name in ("answered", "refused", "failed_searches")]
    counts = [len(rounds), sum(each.urls for each in rounds), *map(sum, found), *map(sum, searches)]
    seconds = [each.first_s for each in rounds if each.first_s is not None], [each.all_s for each in rounds]
    return [f"{value:,}" for value in counts] + [_spread(values) for values in seconds]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} / {max(values):.1f}" if values else "-"


def _again(seed: int, only: str, result: Round) -> str:
    chosen = f" --only {only}" if only else ""
    return f"python -m tests.faults --seed {seed}{chosen} --first {result.number} --rounds 1"


def _tidy(folder: Path, *, keep: bool) -> None:
    """Remove the data, and the logs and lists too unless something broke."""
    for path in folder.iterdir():
        if not keep or path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if keep:
        click.echo(f"logs and lists are kept in {folder}")
    else:
        folder.rmdir()


if __name__ == "__main__":
    main()
