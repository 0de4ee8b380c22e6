"""What a decoder says is believed only as far as it can be checked."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from clipgres.decoding.decode import thumbnail
from clipgres.decoding.wire import REPLY, Nonsense, Orders, Task, failure_reply, read_reply
from clipgres.errors import ImageError
from clipgres.reasons import Reason
from tests.decoding import SQUARE
from tests.pictures import gradient

ORDERS = Orders(
    image_max_pixels=1_000,
    image_max_side=100,
    image_min_side=10,
    image_max_aspect=50,
    decode_timeout_s=1,
    decode_max_memory=1,
)
WEBP = thumbnail(gradient())


def said_by_a_decoder(words: bytes, task: Task) -> Any:
    """What is made of a reply, after which the decoder is gone."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(words)
        theirs.shutdown(socket.SHUT_WR)
        return read_reply(ours, task, ORDERS, time.monotonic() + 10)


def reply(width: int, height: int, square: bytes, thumbnail: bytes) -> bytes:
    """A picture, as a decoder says it."""
    return REPLY.pack(True, width, height, 0, len(square), len(thumbnail)) + square + thumbnail


@pytest.mark.parametrize(
    ("words", "wants_thumbnail", "what"),
    [
        (reply(64, 48, bytes(3_071), b""), False, "a square of another size"),
        (reply(101, 48, bytes(3_072), b""), False, "a size beyond the limits"),
        (reply(64, 9, bytes(3_072), b""), False, "a size beyond the limits"),
        (reply(64, 48, bytes(3_072), WEBP), False, "a thumbnail that is too large"),
        (reply(64, 48, bytes(3_072), b""), True, "a thumbnail that is none"),
        (reply(64, 48, bytes(3_072), b"<script>alert(1)</script>"), True, "a thumbnail that is none"),
        (REPLY.pack(True, 64, 48, 0, 3_072, 2**32 - 1), True, "a thumbnail that is too large"),
        (REPLY.pack(False, 0, 0, 0, 2**32 - 1, 0), True, "too many words"),
        (REPLY.pack(False, 0, 0, 0, 0, 2**32 - 1), True, "too many words"),
        (failure_reply(ImageError(Reason.GONE)), True, "a reason that is none of a decoder's"),
    ],
)
def test_what_no_decoder_says_is_not_believed(words: bytes, wants_thumbnail: bool, what: str) -> None:
    with pytest.raises(Nonsense, match=what):
        said_by_a_decoder(words, Task(SQUARE, wants_thumbnail))


@pytest.mark.parametrize("words", [b"", REPLY.pack(True, 64, 48, 0, 3_072, 0), b"\x01" * 20])
def test_half_a_reply_is_none(words: bytes) -> None:
    with pytest.raises(EOFError):
        said_by_a_decoder(words, Task(SQUARE, False))


def test_a_failure_is_told_in_words_that_can_be_stored() -> None:
    with pytest.raises(ImageError) as failed:
        said_by_a_decoder(failure_reply(ImageError(Reason.BROKEN_IMAGE, "a\0b\x1b[31m\n\ud800")), Task(SQUARE, True))
    assert failed.value.reason is Reason.BROKEN_IMAGE
    assert str(failed.value) == "a b [31m ?"
