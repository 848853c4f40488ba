"""All connections of a process: what came in one turn of the loop, looked at together."""

from __future__ import annotations

import asyncio
import logging
import re

from redpoll.gateway.call import Head
from redpoll.host.tick import Inbox
from redpoll.host.wire import HEAD_END, Remembered
from redpoll.web.heads import vet
from redpoll.web.held import Held
from redpoll.web.http import IDLE, WORKING, Connection, Face

log = logging.getLogger("redpoll.gateway")
REMEMBERED = 8192
REMEMBERED_BYTES_MAX = 2048  # a longer head is not worth remembering
_ONLY_ONCE = (b"x-request-id", b"traceparent", b"ce-id")  # heads with these do not come again
_OWN_ID = re.compile(rb"\r\nx-request-id: ?([!-~]{1,128})\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,15})\r\n", re.IGNORECASE)


class Clients:
    """All connections of a process, what they share, and their waits."""

    def __init__(self, face: Face, loop: asyncio.AbstractEventLoop) -> None:
        self.face = face
        self.loop = loop
        self.heads: Remembered[Head] = Remembered(REMEMBERED)
        self.shapes: Remembered[Head] = Remembered(REMEMBERED)  # by bytes, but for length and id
        self.connections: set[Connection] = set()
        self.held = Held(face.limits.reading_bytes)
        self.inbox: Inbox[tuple[Connection, bytes]] = Inbox(face.tick, self.receive)
        face.tick.inboxes.insert(0, self.inbox)
        self.now = loop.time()  # as of the last sweep: good to a quarter of a second

    def connect(self) -> Connection:
        """A protocol for a new client."""
        return Connection(self)

    def receive(self, requests: list[tuple[Connection, bytes]]) -> None:
        """Look at what clients sent; a whole request in one piece with a known head is usual."""
        heads = self.heads
        for connection, data in requests:
            try:
                if connection.state == IDLE:
                    end = data.find(HEAD_END) + 4
                    raw = data[:end]
                    head = heads.young.get(raw) or heads.get(raw)
                    if (
                        head is not None
                        and head.length == len(data) - end
                        and not (connection.buffer or connection.paused)
                    ):
                        connection.state = WORKING
                        connection.head = head
                        if head.arrivals is not None and head.ticket is not None:
                            head.arrivals.noted.append((connection, head, data[end:]))
                        else:
                            head.serve(connection, head, data[end:])
                        continue
                connection.read(data)
            except Exception:
                log.exception("a request could not be read")
                connection.transport.abort()

    def new_head(self, raw: bytes) -> Head:
        """A head that is not known by its bytes, and henceforth is, if it may come again.

        One that was seen with another length of the body, or another request's id, need not be
        read again.
        """
        shape, length, own_id = _shape(raw)
        known = self.shapes.get(shape) if length else None
        if known is not None:
            head = known.varied(length, own_id)
        else:
            head = vet(raw)
            self.face.read_head(head)
        fit = len(raw) <= REMEMBERED_BYTES_MAX and head.length <= self.face.limits.body_bytes
        if fit and _may_be_known(head):
            if not any(name in head.headers for name in _ONLY_ONCE):
                self.heads.put(raw, head)
            if known is None and length and head.problem is None:
                self.shapes.put(shape, head)
        return head

    def sweep(self) -> None:
        """End the waits that took too long. To be called about four times a second."""
        self.inbox.tick.drain()
        self.now = self.loop.time()
        for connection in list(self.connections):
            connection.check(self.now)

    def close_idle(self) -> None:
        """Close every connection that no request is on."""
        self.inbox.tick.drain()
        for connection in list(self.connections):
            if connection.state == IDLE and not connection.buffer:
                connection.close()


def _shape(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """A head without the values that differ from request to request; body's length, request's id.

    Without a plain length there is no shape. What is left out is marked by a byte that is in no head.
    """
    length, own_id = _LENGTH.search(raw), _OWN_ID.search(raw)
    if length is None or b"\0" in raw:
        return raw, b"", b""
    if own_id is None:
        return raw[: length.start(1)] + b"\0" + raw[length.end(1) :], length[1], b""
    first, last = (length, own_id) if length.start(1) < own_id.start(1) else (own_id, length)
    between = raw[first.end(1) : last.start(1)]
    shape = b"%b\0%b\0%b" % (raw[: first.start(1)], between, raw[last.end(1) :])
    return shape, length[1], own_id[1]


def _may_be_known(head: Head) -> bool:
    return head.length >= 0 and not head.expect and b"content-encoding" not in head.headers
