"""What a program and its decoder processes say to each other over a socket: lengths first, and nothing that runs code.

The decoder has read what strangers sent, so nothing it says is believed: every length, number and word is checked.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from socket import socket
from struct import Struct
from typing import Any

from clipgres.decoding.decode import Decoded
from clipgres.errors import ImageError, PermanentImageError, TransientImageError
from clipgres.preprocess import Pixels, Preprocessing
from clipgres.reasons import Reason

READY = b"ready\n"
# Bytes of the task, and of the picture that follows it.
REQUEST = Struct("!II")
# Whether it is a picture; width, height and perceptual hash; bytes of the square or the reason, and of the thumbnail
# or the error's words, which follow in this order.
REPLY = Struct("!?IIqII")
THUMBNAIL_MAX_BYTES = 10_000_000
WORDS_MAX_BYTES = 2_000
REASONS = frozenset(
    {
        Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.BROKEN_IMAGE, Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL,
        Reason.BAD_ASPECT, Reason.DECODER_FAILED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a decoder process is started with: the settings of these names."""

    image_max_pixels: int
    image_max_side: int
    image_min_side: int
    image_max_aspect: float
    decode_timeout_s: float
    decode_max_memory: int

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Read them."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Task:
    """What to make of one picture: the square that a model sees, a thumbnail, or both."""

    preprocessing: Preprocessing | None
    thumbnail: bool

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Task:
        """Read it."""
        fields: dict[str, Any] = json.loads(text)
        how = fields["preprocessing"]
        return cls(how and Preprocessing(**how), fields["thumbnail"])

    @property
    def square_bytes(self) -> int:
        """How long the square must be."""
        return self.preprocessing.side**2 * 3 if self.preprocessing else 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a picture, its lengths and numbers checked and its bytes as they came."""

    width: int
    height: int
    perceptual_hash: int
    square: bytes
    thumbnail: bytes


class Nonsense(Exception):
    """The decoder said what no decoder of ours says."""


def picture_reply(decoded: Decoded, square: Pixels | None, thumbnail: bytes) -> bytes:
    """The words of a decoder for a picture."""
    body = b"" if square is None else square.tobytes()
    sizes = decoded.width, decoded.height, decoded.perceptual_hash, len(body), len(thumbnail)
    return REPLY.pack(True, *sizes) + body + thumbnail


def failure_reply(error: ImageError) -> bytes:
    """The words of a decoder for what is no picture it can use."""
    reason, words = error.reason.encode(), str(error).encode("utf-8", "replace")[:WORDS_MAX_BYTES]
    return REPLY.pack(False, 0, 0, 0, len(reason), len(words)) + reason + words


def read_reply(channel: socket, task: Task, orders: Orders, deadline: float) -> Reply:
    """Read and check what a decoder says before the deadline, a time of `time.monotonic`.

    Raises:
        ImageError: it says that the picture cannot be used, for a reason that a decoder may give.
        Nonsense: it says something else.
        EOFError, OSError: it is gone, or has not said anything in time.
    """
    is_picture, width, height, perceptual_hash, first, second = REPLY.unpack(receive(channel, REPLY.size, deadline))
    if not is_picture:
        _check(first <= WORDS_MAX_BYTES and second <= WORDS_MAX_BYTES, "too many words")
        raise _failure(receive(channel, first, deadline), receive(channel, second, deadline))
    shorter, longer = sorted((width, height))
    _check(orders.image_min_side <= shorter and longer <= orders.image_max_side, "a size beyond the limits")
    _check(first == task.square_bytes, "a square of another size")
    _check(second <= THUMBNAIL_MAX_BYTES * task.thumbnail, "a thumbnail that is too large")
    square, thumbnail = receive(channel, first, deadline), receive(channel, second, deadline)
    is_webp = thumbnail[:4] == b"RIFF" and thumbnail[8:12] == b"WEBP"
    _check(is_webp if task.thumbnail else not thumbnail, "a thumbnail that is none")
    return Reply(width, height, perceptual_hash, square, thumbnail)


def receive(channel: socket, count: int, deadline: float | None = None) -> bytes:
    """Exactly so many bytes.

    Raises:
        EOFError: the other side is gone.
        TimeoutError: the deadline has passed.
    """
    received = bytearray(count)
    rest = memoryview(received)
    while rest:
        if deadline is not None:
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
        length = channel.recv_into(rest)
        if not length:
            raise EOFError
        rest = rest[length:]
    return bytes(received)


def _failure(reason: bytes, words: bytes) -> ImageError:
    known = {each.encode(): each for each in REASONS}
    _check(reason in known, "a reason that is none of a decoder's")
    text = words.decode("utf-8", "replace")
    detail = "".join(character if character.isprintable() else " " for character in text)
    kind = TransientImageError if known[reason].is_transient else PermanentImageError
    return kind(known[reason], detail)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise Nonsense(what)
