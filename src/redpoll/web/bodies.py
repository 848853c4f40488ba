"""Bodies of requests as they are meant: inflated, within their bound."""

from __future__ import annotations

import zlib

from redpoll.errors import RedpollError
from redpoll.gateway.call import Head
from redpoll.host.wire import TooLarge

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's window bits


def inflate(head: Head, body: bytes, limit: int) -> bytes:
    """The body without its content encoding (gzip, deflate). RP-111 where it has another.

    Raises :class:`TooLarge` as soon as ``limit`` bytes are passed.
    """
    coding = head.headers.get(b"content-encoding")
    if coding is None:
        return body
    coding = coding.strip().lower()
    if coding in (b"identity", b""):
        return body
    if coding in (b"gzip", b"x-gzip"):
        return _inflated(body, _GZIP, limit)
    if coding == b"deflate":
        zlib_header = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _inflated(body, _ZLIB if zlib_header else _RAW, limit)
    raise RedpollError(
        "RP-111",
        f"The body has the content encoding {coding[:40].decode('latin-1')!r}; gzip and deflate "
        "are read here.",
    )


def _inflated(body: bytes, window: int, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        machine = zlib.decompressobj(window)
        try:
            part = machine.decompress(body, limit - size + 1)
        except zlib.error as error:
            raise RedpollError(
                "RP-101", f"The compressed body could not be read: {error}."
            ) from None
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
        if not machine.eof:
            raise RedpollError("RP-101", "The compressed body ends too early.")
        body = machine.unused_data
        if not body:
            return b"".join(parts)
