"""How many threads may decode at a time: a few, and one alone while the model has enough to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition

# A decoder that hangs, or a machine that is busy with other things, holds nobody up for longer.
PATIENCE_S = 2.0


class Pace:
    """Entered by each thread that is about to decode, and left when it is done.

    Pictures decoded far ahead of the model take the cores from it at first and leave them half idle in the end: with
    one decoder beside it instead, an import on two cores took 6 to 9 % less time.
    """

    def __init__(self, has_enough: Callable[[], bool] = lambda: False, most: int | None = None) -> None:
        """`has_enough` is asked by whoever waits; `most` is two a core unless given."""
        self._has_enough = has_enough
        self._most = most or 2 * (os.cpu_count() or 1)
        self._changed = Condition()
        self._running = 0

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(self._has_room, PATIENCE_S)
            self._changed.wait_for(lambda: self._running < self._most)
            self._running += 1
            if self._has_room():  # since the model has come to want more
                self._changed.notify()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify()

    def _has_room(self) -> bool:
        return self._running < (1 if self._has_enough() else self._most)
