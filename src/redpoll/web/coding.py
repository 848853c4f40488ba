"""Answers compressed as the client asks (``Accept-Encoding``: gzip, deflate).

Small ones are sent as they are: compressing them costs more than it saves.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

BYTES_MIN = 1024
THREAD_BYTES_MIN = 128 * 1024  # what is larger is compressed off the loop
LEVEL = 1  # JSON shrinks most of what it can; the next levels cost several times as much
VARY = b"vary: accept-encoding\r\n"
_WINDOWS = {b"gzip": 31, b"deflate": 15}


def wanted(accept: bytes) -> bytes:
    """``gzip``, ``deflate`` or nothing: what a client likes best of what is written here.

    ``accept`` is the value of ``Accept-Encoding``. A weight that is no number counts as 0.
    """
    weights: dict[bytes, float] = {}
    for part in accept.lower().split(b","):
        name, _, parameters = part.partition(b";")
        weights[name.strip()] = _weight(parameters)
    other = weights.get(b"*", 0.0)
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", other))
    deflate = weights.get(b"deflate", 0.0)
    best, weight = (b"deflate", deflate) if deflate > gzip else (b"gzip", gzip)
    if weight <= 0.0 or weights.get(b"identity", 0.0) > weight:
        return b""
    return best


def _weight(parameters: bytes) -> float:
    name, _, value = parameters.strip().partition(b"=")
    if name.strip() != b"q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0


def compress(
    loop: asyncio.AbstractEventLoop, body: bytes, coding: bytes, then: Callable[[bytes], None]
) -> None:
    """Call ``then`` with the body compressed: at once, or once a thread is done with a large one."""
    if len(body) < THREAD_BYTES_MIN:
        then(compressed(body, coding))
        return
    done = loop.run_in_executor(None, compressed, body, coding)
    done.add_done_callback(lambda made: then(made.result()))


def compressed(body: bytes, coding: bytes) -> bytes:
    """The body in a coding that :func:`wanted` chose."""
    machine = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    return machine.compress(body) + machine.flush()
