"""All connections of a process: what came in one turn of the loop, looked at together."""

from __future__ import annotations

import asyncio
import logging

from redpoll.gateway.call import Head
from redpoll.host.tick import Inbox
from redpoll.host.wire import HEAD_END, Remembered
from redpoll.web.held import Held
from redpoll.web.http import IDLE, WORKING, Connection, Face

log = logging.getLogger("redpoll.gateway")
REMEMBERED = 8192


class Clients:
    """All connections of a process, what they share, and their waits."""

    def __init__(self, face: Face, loop: asyncio.AbstractEventLoop) -> None:
        self.face = face
        self.loop = loop
        self.heads: Remembered[Head] = Remembered(REMEMBERED)
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
