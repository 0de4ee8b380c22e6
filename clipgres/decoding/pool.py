"""Decoding behind a boundary: child processes decode, so that a picture that crashes one, hangs or eats memory costs
itself and nothing else."""

from __future__ import annotations

import os
import weakref
from dataclasses import fields
from queue import LifoQueue
from threading import Lock
from typing import Self

from clipgres.decoding.child import DecodedPicture, DecoderChild
from clipgres.decoding.wire import Orders, Task
from clipgres.errors import TransientImageError
from clipgres.preprocess import Preprocessing
from clipgres.reasons import Reason
from clipgres.settings import Settings

__all__ = ["DecodedPicture", "Decoders"]


class Decoders:
    """A few decoder processes; safe to call from many threads, each of which waits for one that is free.

    A process is started when a picture needs it, and in place of one that failed.
    """

    def __init__(self, settings: Settings, processes: int | None = None) -> None:
        """As many as the settings say unless given."""
        names = [field.name for field in fields(Orders)]
        self._orders = Orders(**{name: getattr(settings, name) for name in names})
        # The one that decoded last comes first: where there is little to do, one process does it.
        self._free: LifoQueue[DecoderChild | None] = LifoQueue()
        self.processes = processes or settings.decode_processes or len(os.sched_getaffinity(0))
        for _ in range(self.processes):
            self._free.put(None)
        self._lock = Lock()
        self._is_closed = False
        self._children: set[DecoderChild] = set()
        # Whoever forgets to close leaves no process behind.
        weakref.finalize(self, _end_all, self._children)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def picture(self, body: bytes, preprocessing: Preprocessing | None, *, thumbnail: bool = False) -> DecodedPicture:
        """Decode a picture and make the square that a model sees of it, unless for none, and a thumbnail if asked for.

        Raises:
            PermanentImageError: it is no picture, cut off, broken, or beyond a limit.
            TransientImageError: its decoder crashed, took too long or ran out of memory; other pictures go on.
            SetupError: no decoder process can be started.
        """
        return self._ask(Task(preprocessing, thumbnail), body)

    def pids(self) -> set[int]:
        """The ids of the processes that run."""
        with self._lock:
            return {child.pid for child in self._children if child.is_usable}

    def close(self) -> None:
        """End every process; what is being decoded fails."""
        with self._lock:
            self._is_closed = True
            _end_all(self._children)

    def _ask(self, task: Task, body: bytes) -> DecodedPicture:
        child = self._free.get()
        try:
            if child is None or not child.is_usable:
                child = self._replaced(child)
            return child.ask(task, body)
        finally:
            self._free.put(child)

    def _replaced(self, child: DecoderChild | None) -> DecoderChild:
        if child is not None:
            child.end()
        with self._lock:
            self._children.difference_update([child] if child else [])
            if self._is_closed:
                raise TransientImageError(Reason.DECODER_FAILED, "the decoders were closed")
            fresh = DecoderChild(self._orders)
            self._children.add(fresh)
        try:
            fresh.wait_until_ready()
        except BaseException:
            fresh.end()
            with self._lock:
                self._children.discard(fresh)
            raise
        return fresh


def _end_all(children: set[DecoderChild]) -> None:
    for child in children:
        child.end()
    children.clear()
