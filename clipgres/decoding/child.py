"""One decoder process, seen from the program that started it: how to start it, ask it, and end it."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from socket import socketpair

import numpy as np

from clipgres.decoding.wire import READY, REQUEST, Nonsense, Orders, Reply, Task, read_reply, receive
from clipgres.errors import PermanentImageError, SetupError, TransientImageError
from clipgres.plain_text import printable
from clipgres.preprocess import Pixels
from clipgres.reasons import Reason
from clipgres.servers.child import describe_exit

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 5.0
# What leaks a little with each picture is given back after so many.
PICTURES = 10_000
PASSED_ON = ("PATH", "LD_LIBRARY_PATH")
# No threads beside the one that decodes. What a picture frees is kept for the next, up to 64 MB: a JPEG of 12 million
# pixels takes 25 ms of CPU time then, not 27, and a PNG of 1.2 million takes 40, not 43.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
}


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A picture that can be used: what the model sees and the thumbnail if they were asked for, and the upright size.

    `content_hash` is the SHA-256 of the bytes; pictures that look alike differ in few bits of `perceptual_hash`.
    """

    pixels: Pixels
    thumbnail: bytes
    width: int
    height: int
    content_hash: bytes
    perceptual_hash: int


class DecoderChild:
    """A process that decodes one picture at a time; for one thread at a time, but for `end`."""

    def __init__(self, orders: Orders) -> None:
        """Start it; see `wait_until_ready`.

        Raises:
            SetupError: the machine starts no process.
        """
        self._orders = orders
        self._answers = 0
        ours, theirs = socketpair()
        self._channel = ours
        # Kept in memory: what a process says before it ends is short.
        self._errors = open(os.memfd_create("decoder-errors"), "rb", buffering=0)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "clipgres.decoding.process", orders.to_json()],
                    env=_environment(),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    start_new_session=True,  # so that Ctrl-C in a terminal does not reach it
                )
        except OSError as error:
            raise SetupError(f"no decoder process can be started: {error}") from error

    @property
    def pid(self) -> int:
        """The process id."""
        number: int = self._process.pid
        return number

    @property
    def is_usable(self) -> bool:
        """Whether it runs, and has not decoded so much that a fresh one is better."""
        return self._answers < PICTURES and self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until it can be asked.

        Raises:
            SetupError: it ended instead, or takes too long.
        """
        try:
            self._channel.settimeout(START_TIMEOUT_S)
            if receive(self._channel, len(READY), time.monotonic() + START_TIMEOUT_S) != READY:
                raise EOFError
        except (EOFError, OSError) as error:
            raise SetupError(f"a decoder process does not start: {self._ending(error)}") from error

    def ask(self, task: Task, body: bytes) -> DecodedPicture:
        """Have a picture decoded.

        Raises:
            PermanentImageError: it cannot be used.
            TransientImageError: the decoder crashed, took too long or ran out of memory, and was ended.
        """
        self._answers += 1
        deadline = time.monotonic() + self._orders.decode_timeout_s
        try:
            self._send(task, body)
            content_hash = hashlib.sha256(body).digest()  # while the other process decodes
            reply = read_reply(self._channel, task, self._orders, deadline)
        except PermanentImageError:
            raise
        except (EOFError, OSError, Nonsense) as error:
            what = self._ending(error)
            log.warning("a decoder had to be replaced: %s", what)
            raise TransientImageError(Reason.DECODER_FAILED, f"{Reason.DECODER_FAILED.gloss}: {what}") from error
        except BaseException:
            # Short of memory, or the caller was interrupted: what it says next would be taken for another picture.
            self.end()
            raise
        return _picture(task, reply, content_hash)

    def end(self) -> None:
        """End the process at once; a second time does nothing."""
        with suppress(OSError):
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)

    def _send(self, task: Task, body: bytes) -> None:
        words = task.to_json().encode()
        self._channel.settimeout(self._orders.decode_timeout_s)
        self._channel.sendall(REQUEST.pack(len(words), len(body)) + words)
        self._channel.sendall(body)

    def _ending(self, error: Exception) -> str:
        """End the process and say in words why: what it was late for, how it had ended, or what it said."""
        if isinstance(error, TimeoutError):
            self.end()
            return f"it took longer than {self._orders.decode_timeout_s:g} s"
        if isinstance(error, Nonsense):
            self.end()
            return f"it answered with {error}"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        exit_code = self._process.poll()
        self.end()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return ", ".join(filter(None, (describe_exit(exit_code), printable(last[:200]))))

    def __del__(self) -> None:
        # Not earlier: `end` may be called while another thread reads.
        self._channel.close()
        self._errors.close()


def _picture(task: Task, reply: Reply, content_hash: bytes) -> DecodedPicture:
    side = task.preprocessing.side if task.preprocessing else 0
    pixels = np.frombuffer(reply.square, np.uint8).reshape(side, side, 3)
    return DecodedPicture(pixels, reply.thumbnail, reply.width, reply.height, content_hash, reply.perceptual_hash)


def _environment() -> dict[str, str]:
    """No setting of ours and no password in it, and the modules where this process finds them."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
