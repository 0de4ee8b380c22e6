"""Bytes of a list made plain: unpacked, and brought from another encoding into UTF-8, a piece at a time."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UTF_8 = "utf-8"
UTF_16 = "utf-16"
ENCODINGS = (UTF_8, UTF_16, "latin-1", "cp1252")
BYTE_ORDER_MARK = codecs.BOM_UTF8

# xz is not among them: its files say how much memory it takes to unpack them, up to 4 GB.
PACKINGS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
    b"BZh": bz2.BZ2File,
}
PIECE_BYTES = 128 * 1_024


class DamagedList(Exception):
    """A packed list is broken or cut off: what came before is whole."""


class _Unpacked(io.RawIOBase):
    """What a packed stream holds; where it is damaged, reading says so."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            # One step at a time: what was unpacked before the damage must not be lost with it.
            piece = cast(io.BufferedIOBase, self._packed).read1(len(buffer))
        except (EOFError, zlib.error, zstd.ZstdError) as error:
            raise DamagedList(str(error)) from error
        except OSError as error:
            if error.errno is not None:  # the disk or the network, not what lies on it
                raise
            raise DamagedList(str(error)) from error
        buffer[: len(piece)] = piece
        return len(piece)


class _Recoded(io.RawIOBase):
    """A text in another encoding, as UTF-8; what is no character of it comes out as what is none of UTF-8 either."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._errors = "surrogatepass" if encoding == UTF_16 else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(encoding)(self._errors)
        self._stream = stream
        self._ready = b""
        self._is_done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._is_done:
            piece = self._stream.read(PIECE_BYTES)
            self._is_done = not piece
            self._ready = self._recode(piece)
        taken = self._ready[: len(buffer)]
        self._ready = self._ready[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _recode(self, piece: bytes) -> bytes:
        try:
            return self._decoder.decode(piece, self._is_done).encode(UTF_8, self._errors)
        except UnicodeDecodeError:  # half a character at the very end
            return b"\xff"


def plain(stream: BinaryIO, encoding: str = UTF_8) -> BinaryIO:
    """The stream unpacked and in UTF-8; its content tells how it is packed, and a mark that it is UTF-16.

    Reading it raises:
        DamagedList: it is packed, and broken or cut off.
    """
    buffered = _buffered(stream)
    for magic, unpack in PACKINGS.items():
        if _head(buffered).startswith(magic):
            buffered = _buffered(_Unpacked(unpack(cast(BinaryIO, buffered))))
            break
    if encoding == UTF_8 and _head(buffered).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = UTF_16
    return cast(BinaryIO, buffered if encoding == UTF_8 else _buffered(_Recoded(cast(BinaryIO, buffered), encoding)))


def _buffered(stream: Any) -> io.BufferedReader:
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, PIECE_BYTES)


def _head(buffered: io.BufferedReader) -> bytes:
    """The first bytes; a pipe may give fewer of them at first than there are."""
    return buffered.peek(4)[:4]
