"""All connections of a process: what came in one turn of the loop, looked at together."""

from __future__ import annotations

import asyncio
import logging
import re
from copy import copy

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
_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,15})\r\n", re.IGNORECASE)


class Clients:
    """All connections of a process, what they share, and their waits."""

    def __init__(self, face: Face, loop: asyncio.AbstractEventLoop) -> None:
        self.face = face
        self.loop = loop
        self.heads: Remembered[Head] = Remembered(REMEMBERED)
        self.shapes: Remembered[Head] = Remembered(REMEMBERED)  # by bytes, but for the length
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

        One that was seen with another length of the body need not be read again.
        """
        length = _LENGTH.search(raw)
        if length is None:
            shape, known = raw, None
        else:
            shape = raw[: length.start(1)] + raw[length.end(1) :]
            known = self.shapes.get(shape)
        if known is not None and length is not None:
            head = copy(known)
            head.length = int(length.group(1))
        else:
            head = vet(raw)
            self.face.read_head(head)
        most = self.face.limits.body_bytes
        if len(raw) <= REMEMBERED_BYTES_MAX and _may_come_again(head) and head.length <= most:
            self.heads.put(raw, head)
            if known is None and length is not None:
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


def _may_come_again(head: Head) -> bool:
    plain = head.length >= 0 and not head.expect and b"content-encoding" not in head.headers
    return plain and not any(name in head.headers for name in _ONLY_ONCE)
