"""A decoder process: reads pictures from its standard input, a socket, and answers each; it ends with who started it.

Pillow and numpy are all it loads: 30 MB, and a tenth of a second. It is started by `clipgres.decoding.child`.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from socket import socket

from PIL import AvifImagePlugin, Image, WebPImagePlugin

from clipgres.decoding.decode import THUMBNAIL_SHORT_SIDE, decode, thumbnail
from clipgres.decoding.wire import READY, REQUEST, Orders, Task, failure_reply, picture_reply, receive
from clipgres.errors import ImageError, TransientImageError
from clipgres.reasons import Reason

# Who waits for answers, a model or a search, goes first where there are too few cores.
NICENESS = 5
OPEN_FILES = 16
# Standard error is all it can write to, and keeps no more.
WRITTEN_BYTES = 65_536
# After the program that started it should have ended it; so a decoder that hangs does not outlive a killed program.
GRACE_S = 1.0


def main() -> None:
    """Answer until nobody asks any more."""
    # Loaded here, these two also keep Pillow from loading its other forty readers at the first picture of this kind.
    if not (AvifImagePlugin.SUPPORTED and WebPImagePlugin.SUPPORTED):
        sys.exit("this Pillow reads no AVIF or no WebP; install it from PyPI")
    orders = Orders.from_json(sys.argv[1])
    confine(orders)
    with socket(fileno=sys.stdin.fileno()) as channel, suppress(EOFError, ConnectionError):
        channel.sendall(READY)
        while True:
            task_bytes, body_bytes = REQUEST.unpack(receive(channel, REQUEST.size))
            task, body = Task.from_json(receive(channel, task_bytes)), receive(channel, body_bytes)
            signal.setitimer(signal.ITIMER_REAL, orders.decode_timeout_s + GRACE_S)
            reply = answer(task, body, orders)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.sendall(reply)


def confine(orders: Orders) -> None:
    """Let this process go after others, and take no more than it needs."""
    os.nice(NICENESS)
    _limit(resource.RLIMIT_AS, orders.decode_max_memory)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, WRITTEN_BYTES)
    _limit(resource.RLIMIT_NPROC, 0)  # no process or thread beside this one, unless it is root's
    # A machine that runs out of memory ends a decoder before it ends a worker or a database.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Pillow refuses what has more than twice as many: some of its readers make room before the size can be looked at.
    Image.MAX_IMAGE_PIXELS = -(-orders.image_max_pixels // 2)
    # There is a decoder a core; and threads take address space.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def answer(task: Task, body: bytes, orders: Orders) -> bytes:
    """Make what is asked for of one picture, or say why not."""
    how = task.preprocessing
    try:
        decoded = decode(body, orders, how.short if how else THUMBNAIL_SHORT_SIDE // 2)
        square = how.prepare(decoded.image) if how else None
        return picture_reply(decoded, square, thumbnail(decoded.image) if task.thumbnail else b"")
    except ImageError as error:
        return failure_reply(error)
    except MemoryError:
        return failure_reply(TransientImageError(Reason.DECODER_FAILED, "there was not enough memory to decode it"))


def _limit(what: int, most: int) -> None:
    hardest = resource.getrlimit(what)[1]
    if hardest != resource.RLIM_INFINITY:
        most = min(most, hardest)
    resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
