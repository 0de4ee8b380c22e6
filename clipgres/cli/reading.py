"""What `clipgres add` shows while it reads a list: how far it is, which lines are refused, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from clipgres.cli.output import note, stderr
from clipgres.lists import OpenedList, RefusedLine, Report
from clipgres.wording import count, duration, many

SHOWN_REFUSALS = 20
SAID_EVERY_S = 10.0


class Reading:
    """A bar in a terminal, else a line now and then; the first refused lines, and all of them into the report."""

    def __init__(self, opened: OpenedList, report: Report | None, clock: Callable[[], float] = time.monotonic) -> None:
        columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.fields[note]}", markup=False))
        self._bar = Progress(*columns, console=stderr(), transient=True)
        self._task = self._bar.add_task("", total=None, note="Reading ...")
        self.opened = opened
        self._report, self._clock = report, clock
        self._started = self._said = clock()
        self._before = 0
        self._first: tuple[float, float | None] | None = None
        self._shown = 0
        self._is_other_encoding = False
        self._open = ExitStack()

    def __enter__(self) -> Reading:
        if self._report is not None:
            self._open.callback(self._report.close)
        if self._bar.console.is_terminal:
            self._open.enter_context(self._bar)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def begin(self, lines: int = 0) -> None:
        """Reading begins after so many lines."""
        self._before = lines
        if lines:
            note(f"Goes on after line {count(lines)} of the same list.")
        if self._report is not None:
            self._report.begin(lines)

    def refuse(self, refused: RefusedLine) -> None:
        """A line is refused."""
        self._shown += 1
        self._is_other_encoding |= refused.reason.startswith("not UTF-8")
        if self._shown <= SHOWN_REFUSALS:
            line = f"Line {count(refused.line)} refused: {refused.reason}: {refused.excerpt}"
            self._bar.console.print(line, style="dim", markup=False, soft_wrap=True)
        if self._report is not None:
            self._report.add(refused)

    def go_on(self, lines: int, refused: int) -> None:
        """So many lines are behind, and so many of them were refused."""
        now, share = self._clock(), self.opened.share()
        took_s = now - self._started
        if self._first is None:
            self._first = (now, share)  # a list that is taken up again is skipped to its place first
        parts = [
            many(lines, "line"),
            f"{count(refused)} refused" if refused else "",
            f"{count(round((lines - self._before) / took_s))} lines/s" if took_s > 1 else "",
            self._left(now, share),
        ]
        told = ", ".join(part for part in parts if part)
        self._bar.update(self._task, total=None if share is None else 1.0, completed=share or 0, note=told)
        if not self._bar.console.is_terminal and now - self._said >= SAID_EVERY_S:
            self._said = now
            note(f"Read {told}")

    def _left(self, now: float, share: float | None) -> str:
        began, behind = self._first or (now, share)
        if share is None or behind is None or share <= behind:
            return ""
        return f"{duration((now - began) * (1 - share) / (share - behind))} left"

    def advise(self) -> None:
        """Say what may help with the lines that were refused."""
        if self._report is not None and self._shown:
            note(f"All refused lines are in {self._report.path}")
        if self._is_other_encoding:
            note("Some lines are not UTF-8. If the list is in Latin-1, give --encoding latin-1.")

    @property
    def hides_refusals(self) -> bool:
        """Whether more lines were refused than were shown, and no report has them."""
        return self._report is None and self._shown > SHOWN_REFUSALS
