"""Keeps a set of children running: starts them in order, restarts one that dies, stops all in reverse order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Self

from clipgres.errors import SetupError
from clipgres.servers.child import Child, RunningChild, describe_exit, last_lines, trim_log

POLL_S = 0.1
MAX_DEATHS_BEFORE_READY = 5
MAX_BACK_OFF_S = 30
STEADY_S = 60
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping(Exception):
    """Raised out of what the supervisor was doing when Ctrl-C or SIGTERM arrives."""


@dataclass
class _Kept:
    child: Child
    running: RunningChild | None = None
    was_ready: bool = False
    is_ready: bool = False
    deaths: int = 0
    start_at: float = 0
    ready_by: float = 0


class Supervisor:
    """A context in which children are kept; leaving it stops them all. Use it from the main thread only.

    The kernel ends a child when the thread that started it ends, and Python handles signals in the main thread.
    `report` gets one line whenever a child stops; `on_change` is called with the running ones whenever one starts.
    A child that dies is started again after `back_off_s`, doubled with every death, at most 30 s.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        on_change: Callable[[list[RunningChild]], None] = lambda _children: None,
        back_off_s: float = 1,
    ) -> None:
        self._report = report
        self._on_change = on_change
        self._back_off_s = back_off_s
        self._kept: list[_Kept] = []
        self._signals = 0
        self._previous: list[object] = []

    def __enter__(self) -> Self:
        self._previous = [signal.signal(number, self._on_signal) for number in SIGNALS]
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        for kept in reversed(self._kept):
            if kept.running:
                kept.running.stop(hurry=lambda: self._signals > 1)
        for number, handler in zip(SIGNALS, self._previous, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]
        return isinstance(error, Stopping)

    def start(self, child: Child) -> None:
        """Start one child and wait until it is ready, keeping the earlier ones.

        Raises:
            SetupError: it died too often or took too long before it was ever ready; the text ends with its log.
            Stopping: a signal asked for the end.
        """
        kept = _Kept(child)
        self._kept.append(kept)
        while not kept.is_ready:
            self._step()

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep the children until the condition holds.

        Raises:
            Stopping: a signal asked for the end.
        """
        while not until():
            self._step()

    def check(self) -> None:
        """Notice a signal that came meanwhile.

        Raises:
            Stopping: there was one.
        """
        if self._signals:
            raise Stopping

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _step(self) -> None:
        """Look after every child once."""
        self.check()
        for kept in self._kept:
            if kept.running is None:
                self._start_when_due(kept)
            elif kept.running.exit_code() is not None:
                self._on_death(kept, kept.running)
            elif not kept.is_ready:
                self._look_whether_ready(kept, kept.running)
            else:
                trim_log(kept.child.log)
        time.sleep(POLL_S)

    def _start_when_due(self, kept: _Kept) -> None:
        now = time.monotonic()
        if now >= kept.start_at:
            kept.running = RunningChild(kept.child)
            kept.ready_by = now + kept.child.ready_timeout_s
            self._on_change([kept.running for kept in self._kept if kept.running])

    def _look_whether_ready(self, kept: _Kept, running: RunningChild) -> None:
        if running.is_ready():
            kept.is_ready = kept.was_ready = True
        elif not kept.was_ready and time.monotonic() > kept.ready_by:
            raise SetupError(f"{kept.child.name} is not ready after {kept.child.ready_timeout_s:.0f} s; {_log(kept)}")

    def _on_death(self, kept: _Kept, running: RunningChild) -> None:
        running.stop()
        lived_s = time.monotonic() - running.started_at
        kept.deaths = 1 if kept.is_ready and lived_s > STEADY_S else kept.deaths + 1
        how = describe_exit(running.exit_code())
        if not kept.was_ready and kept.deaths >= MAX_DEATHS_BEFORE_READY:
            raise SetupError(f"{kept.child.name} stopped {kept.deaths} times before it was ready ({how}); {_log(kept)}")
        wait_s = min(self._back_off_s * 2 ** min(kept.deaths - 1, 10), MAX_BACK_OFF_S)
        kept.running, kept.is_ready, kept.start_at = None, False, time.monotonic() + wait_s
        self._report(f"{kept.child.name} stopped ({how}): starting it again in {wait_s:g} s; log: {kept.child.log}")


def _log(kept: _Kept) -> str:
    return "\n  ".join([f"the end of {kept.child.log}:", *last_lines(kept.child.log)])
