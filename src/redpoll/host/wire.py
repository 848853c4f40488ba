"""HTTP/1.1 on the wire, as far as both sides of the data plane share it.

Heads are vetted by llhttp (strict) and end at the first empty line; what follows is framed here, by
``Content-Length`` or by chunks. Heads come back again and again on kept connections, so vetted ones
are remembered by their bytes: :class:`Remembered`.
"""

from __future__ import annotations

from typing import Generic, TypeVar

HEAD_END = b"\r\n\r\n"
CHUNK_LINE_MAX = 256  # a chunk's size with its extensions
TRAILER_BYTES_MAX = 8 * 1024
_HEX = frozenset(b"0123456789abcdefABCDEF")

T = TypeVar("T")


class WireError(Exception):
    """Bytes that are not HTTP/1.1 as it is taken here."""


class TooLarge(Exception):
    """A body went past its bound."""


class Remembered(Generic[T]):
    """A bounded memory of vetted heads: two generations, so that what is in use stays."""

    __slots__ = ("_limit", "_old", "young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.young: dict[bytes, T] = {}  # what was used lately, for who looks often
        self._old: dict[bytes, T] = {}

    def get(self, head: bytes) -> T | None:
        """What was remembered for these very bytes."""
        found = self.young.get(head)
        if found is None:
            found = self._old.get(head)
            if found is not None:
                self.put(head, found)
        return found

    def put(self, head: bytes, value: T) -> None:
        """Remember; at most twice ``limit`` heads are held."""
        if len(self.young) >= self._limit:
            self._old, self.young = self.young, {}
        self.young[head] = value

    def clear(self) -> None:
        """Forget everything."""
        self.young.clear()
        self._old.clear()


class Chunks:
    """Takes a chunked body apart, strictly: CRLF only, sizes of at most 15 hexadecimal digits."""

    def __init__(self, limit: int) -> None:
        self.body = bytearray()  # as far as it has come; one piece, however small its chunks are
        self._limit = limit
        self._size = 0
        self._left = -1  # of the present chunk; -1: its size line comes; 0: its CRLF comes
        self._trailer = -1  # bytes of trailers so far; -1: not there yet

    def feed(self, buffer: bytearray) -> bytes | None:
        """Take from the front of ``buffer``; the whole body once its end was read, else None.

        Raises :class:`WireError` or :class:`TooLarge`.
        """
        while True:
            if self._trailer >= 0:
                return bytes(self.body) if self._end(buffer) else None
            if self._left > 0:
                piece = buffer[: self._left]
                if not piece:
                    return None
                del buffer[: len(piece)]
                self.body += piece
                self._left -= len(piece)
                continue
            if self._left == 0:
                if len(buffer) < 2:
                    return None
                if buffer[:2] != b"\r\n":
                    raise WireError("a chunk is longer than its size says")
                del buffer[:2]
                self._left = -1
                continue
            line = _line(buffer, CHUNK_LINE_MAX)
            if line is None:
                return None
            self._left = self._chunk_size(line)
            if self._left == 0:
                self._trailer = 0
            self._size += self._left
            if self._size > self._limit:
                raise TooLarge

    def _chunk_size(self, line: bytes) -> int:
        digits = line.partition(b";")[0].rstrip(b" \t")
        if not 0 < len(digits) <= 15 or not _HEX.issuperset(digits):
            raise WireError("a chunk's size is no hexadecimal number")
        return int(digits, 16)

    def _end(self, buffer: bytearray) -> bool:
        """Skip trailers, which nobody here reads, up to the empty line."""
        while True:
            line = _line(buffer, TRAILER_BYTES_MAX - self._trailer)
            if line is None:
                return False
            if not line:
                return True
            self._trailer += len(line) + 2


def _line(buffer: bytearray, limit: int) -> bytes | None:
    """Take a line off the front, without its CRLF; None: it is not there yet."""
    end = buffer.find(b"\n", 0, limit + 2)
    if end < 0:
        if len(buffer) > limit + 1:
            raise WireError("a line of the chunked body is too long")
        return None
    if end == 0 or buffer[end - 1] != 13 or buffer.find(b"\r", 0, end - 1) >= 0:
        raise WireError("a line of the chunked body does not end in CRLF")
    line = bytes(buffer[: end - 1])
    del buffer[: end + 1]
    return line
