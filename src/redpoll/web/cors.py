"""Browsers of other origins may send outcomes: the headers that they want to see for it.

A page says ``Origin``; before a body that is no plain text its browser asks first (``OPTIONS``).
Credentials of the browser mean nothing here (who may send is in ``Authorization``), so an origin
that may send is simply echoed, which ``sendBeacon`` needs: it always sends with credentials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from redpoll.errors import RedpollError

MAX_AGE_S = 600
_ORIGIN = re.compile(rb"null\Z|[a-z][a-z0-9+.-]*://[^\s/?#@,;\"'<>\\]{1,255}\Z", re.IGNORECASE)
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,1024}\Z")
_ALWAYS = b"authorization, content-type, content-encoding, x-request-id, traceparent"


def answer_lines(headers: dict[bytes, bytes], allowed: Sequence[str]) -> bytes:
    """Header lines for every reply to a page that may send; none for what is no page.

    ``allowed``: origins from the configuration; none stands for all of them. Raises
    ``RedpollError`` RP-502 for a page that may not.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return b""
    text = origin.decode("latin-1")
    if _ORIGIN.match(origin) is None or (allowed and text.lower() not in allowed):
        raise RedpollError(
            "RP-502",
            f"Pages of {text[:100]!r} may not send outcomes here; add their origin to "
            "server.origins.",
        )
    lines = (
        b"access-control-allow-origin: %b\r\naccess-control-allow-credentials: true\r\n"
        b"vary: origin\r\n" % origin
    )
    if b"access-control-request-method" not in headers:
        return lines + b"access-control-expose-headers: retry-after\r\n"
    asked = headers.get(b"access-control-request-headers", b"")
    names = asked if _NAMES.match(asked) else _ALWAYS
    lines += b"access-control-allow-methods: POST\r\naccess-control-allow-headers: %b\r\n" % names
    lines += b"access-control-max-age: %d\r\n" % MAX_AGE_S
    if headers.get(b"access-control-request-private-network") == b"true":
        lines += b"access-control-allow-private-network: true\r\n"
    return lines
