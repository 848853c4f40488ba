"""HTTP/1.1 as bytes ↔ calls: one :class:`Connection` for each client.

A request is read whole (head, then body by length or chunks), handed to what serves its address,
and the next one of that connection is looked at only when its reply was written: so pipelined
requests are answered in order, and one client costs one place.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from redpoll.catalog import Limits
from redpoll.errors import RedpollError
from redpoll.gateway.call import Call, Head, error_body
from redpoll.host.tick import AT_ONCE_BYTES, Tick
from redpoll.host.wire import HEAD_END, Chunks, TooLarge, WireError
from redpoll.web import coding
from redpoll.web.bodies import inflate
from redpoll.web.heads import Malformed, Sniffer
from redpoll.web.held import Share
from redpoll.web.refusing import bad, slow, too_large

if TYPE_CHECKING:
    from redpoll.web.clients import Clients

log = logging.getLogger("redpoll.gateway")

PIPELINED_BYTES_MAX = 64 * 1024  # of further requests, held while one is worked on
LINGER_S = 2.0  # how long a refused client may go on sending before we hang up
IDLE, HEAD, BODY, WORKING, LINGERING, CLOSED = range(6)
JSON = b"content-type: application/json\r\n"
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
_PLAIN = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b"


class Face(Protocol):
    """What stands behind the connections: the data plane."""

    limits: Limits
    tick: Tick
    closing: bool  # draining: every reply closes its connection

    def read_head(self, head: Head) -> None:
        """Fill in what the headers say, and ``head.serve``.

        That serves one request of a connection with its body: :meth:`Connection.reply` is to be
        called once, now or later.
        """
        ...

    def left(self, call: Call) -> None:
        """The client of a call that is not answered yet is gone."""
        ...

    def refused(self, error: RedpollError) -> None:
        """Count what was refused before anything was served."""
        ...


class Connection(asyncio.Protocol):
    """One client. ``call`` is what it waits for, where that is a call of the gateway."""

    __slots__ = (
        "_advancing", "_chunks", "_clients", "_face", "_inbox", "_reading", "_share", "_sniffer", "_used",
        "buffer", "call", "head", "paused", "since", "state", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._face = clients.face
        self._inbox = clients.inbox
        self.buffer = bytearray()
        self._share = Share(clients.held)
        self._chunks: Chunks | None = None
        self._sniffer: Sniffer | None = None
        self._advancing = False
        self.paused = False  # the client does not read its replies
        self._reading = True
        self._used = False  # a request was answered here before
        self.call: Call | None = None
        self.head: Head | None = None
        self.state = IDLE
        self.since = clients.now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; past the bound it is told so and closed."""
        self.transport = transport  # type: ignore[assignment]
        clients = self._clients
        clients.connections.add(self)
        if len(clients.connections) > self._face.limits.connections:
            self.refuse(
                RedpollError(
                    "RP-108",
                    f"There are {self._face.limits.connections} connections already, as many as "
                    "there may be (server.limits.connections); try again in a moment.",
                    retry_after_s=1,
                )
            )

    def data_received(self, data: bytes) -> None:
        """Note what was read, for the end of this turn of the loop."""
        inbox = self._inbox
        inbox.noted.append((self, data))
        if not inbox.tick.scheduled:
            inbox.tick.schedule_unless_alone(0)
        elif len(data) > AT_ONCE_BYTES:
            inbox.tick.drain()

    def read(self, data: bytes) -> None:
        """Look at what is not, in one piece, a whole request with a head that was seen before."""
        if self.state == LINGERING or self.state == CLOSED:
            return
        self.buffer += data
        if self.state == WORKING or self.paused:
            if len(self.buffer) > PIPELINED_BYTES_MAX and self._reading:
                self._reading = False
                self.transport.pause_reading()
            self._share.now(_size(self.buffer, self._chunks))
            return
        self._advance()

    def _advance(self) -> None:
        """Read and serve as many requests as can be served now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.buffer or self.state == BODY:
                if self.paused or not self._step():
                    break
        except Malformed as error:
            self.refuse(bad(f"this is no HTTP request that is taken here: {error}"))
        except WireError as error:
            self.refuse(bad(str(error)))
        except TooLarge:
            self.refuse(too_large(self._face.limits.body_bytes))
        except RedpollError as error:
            self.refuse(error)
        finally:
            self._advancing = False
        # What waits for the rest of a body must be read on, however much of it is there.
        if not self._reading and (
            self.state in (IDLE, HEAD, BODY) or len(self.buffer) <= PIPELINED_BYTES_MAX
        ):
            self._reading = True
            if not self.transport.is_closing():
                self.transport.resume_reading()
        within = self._share.now(_size(self.buffer, self._chunks))
        if not within and (self.state == HEAD or self.state == BODY):
            self.refuse(self._clients.held.crowded())

    def _step(self) -> bool:
        """One step forward; False where more bytes (or the reply) must come first."""
        if self.state == IDLE or self.state == HEAD:
            head = self._take_head()
            if head is None:
                return False
            self.head = head
            self.state = BODY
            self._expect_body(head)
        if self.state != BODY or self.head is None:
            return False
        body = self._take_body(self.head)
        if body is None:
            return False
        head, self.state = self.head, WORKING
        head.serve(self, head, inflate(head, body, self._face.limits.body_bytes))
        return self.state == IDLE

    def _take_head(self) -> Head | None:
        buffer = self.buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]  # an empty line before a request is to be overlooked
        end = buffer.find(HEAD_END) + 4
        if (len(buffer) if end < 4 else end) > self._face.limits.header_bytes:
            raise RedpollError(
                "RP-106",
                f"The headers are larger than {self._face.limits.header_bytes} bytes "
                "(server.limits.header_bytes); send less.",
            )
        if end < 4:
            if self.state == IDLE and buffer:
                self.state, self.since = HEAD, self._clients.now
                self._sniffer = Sniffer()
            if self._sniffer is not None:
                self._sniffer.look(buffer)
            return None
        raw = bytes(buffer[:end])
        del buffer[:end]
        self._sniffer = None
        return self._clients.heads.get(raw) or self._clients.new_head(raw)

    def _expect_body(self, head: Head) -> None:
        held = self._clients.held
        if head.length > self._face.limits.body_bytes:
            raise TooLarge
        if head.length > len(self.buffer) and held.total + head.length > held.most:
            raise held.crowded()  # at once, rather than in the middle of it
        self.since = self._clients.now
        self._chunks = Chunks(self._face.limits.body_bytes) if head.length < 0 else None
        if head.expect and not self.buffer:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take_body(self, head: Head) -> bytes | None:
        buffer = self.buffer
        if self._chunks is not None:
            chunked = self._chunks.feed(buffer)
            if chunked is not None:
                self._chunks = None
            return chunked
        if len(buffer) < head.length:
            return None
        body = bytes(buffer[: head.length])
        del buffer[: head.length]
        return body

    def answered(self, call: Call) -> None:
        """The gateway has the reply to a call."""
        if self.call is not call:
            return
        self.call = None
        head, transport, body = self.head, self.transport, call.reply_body
        if (
            call.reply_status != 200
            or self.buffer
            or head is None
            or not head.plain
            or len(body) >= coding.BYTES_MIN
            or self._face.closing
            or transport.is_closing()
        ):
            self.reply(call.reply_status, call.reply_lines, body)
            return
        self.head = None
        self._used = True
        self.state, self.since = IDLE, self._clients.now
        transport.write(_PLAIN % (call.reply_lines, len(body), body))

    def reply(self, status: int, lines: bytes, body: bytes, coded: bool = False) -> None:
        """Write a reply; ``lines`` are header lines, CRLF each. ``coded``: compressed already."""
        head, transport = self.head, self.transport
        if self.state != WORKING or head is None or transport.is_closing():
            return
        if head.also and not coded:
            lines += head.also
        start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        length = len(body)
        if length >= coding.BYTES_MIN and not coded:
            lines += coding.VARY
            if head.coding:
                lines += b"content-encoding: %b\r\n" % head.coding
                then = partial(self.reply, status, lines, coded=True)
                coding.compress(self._clients.loop, body, head.coding, then)
                return
        if head.method == "HEAD":
            body = b""
        self.head = None
        self._used = True
        if head.keep_alive and not self._face.closing:
            transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (start, lines, length, body))
            clients = self._clients
            self.state, self.since = IDLE, clients.now
            if self.buffer and not self._advancing:
                clients.loop.call_soon(self._advance)
            return
        lines = lines.replace(b"connection: keep-alive\r\n", b"")  # an old client's, while draining
        transport.write(
            b"%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (start, lines, length, body)
        )
        self._linger()

    def refuse(self, error: RedpollError) -> None:
        """Reply with an error and close: what follows on this connection cannot be trusted."""
        self._face.refused(error)
        if self.transport.is_closing():
            return
        lines = JSON
        if error.retry_after_s is not None:
            lines += b"retry-after: %d\r\n" % error.retry_after_s
        self.state = WORKING
        self.head = Head("GET", "", {})
        self.head.keep_alive = False
        self.reply(error.status, lines, error_body(error))

    def _linger(self) -> None:
        """Close so that the reply arrives: stop writing, and read on for a moment."""
        self.state, self.since = LINGERING, self._clients.now
        self.buffer.clear()
        self._chunks = None
        self._share.now(0)
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.close()

    def check(self, now: float) -> None:
        """End what waits too long."""
        limits, waited = self._face.limits, now - self.since
        if self.state == IDLE:
            if waited > (limits.idle_s if self._used else limits.header_wait_s):
                self.close()
        elif self.state == HEAD:
            if waited > limits.header_wait_s:
                self.refuse(slow("headers", limits.header_wait_s))
        elif self.state == BODY:
            if waited > limits.body_wait_s:
                self.refuse(slow("body", limits.body_wait_s))
        elif self.state == LINGERING and waited > LINGER_S:
            self.transport.abort()
        if self.paused and waited > limits.body_wait_s:
            self.transport.abort()  # it does not read what it asked for

    def close(self) -> None:
        """Close: no request is on the way."""
        self.state = CLOSED
        self.transport.close()

    def eof_received(self) -> bool:
        """The client sends no more: it is taken to have left, for nothing tells the two apart."""
        self._inbox.tick.drain()  # what was sent before the end
        self._gone()
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._inbox.tick.drain()
        self._clients.connections.discard(self)
        self._gone()

    def _gone(self) -> None:
        self.state = CLOSED
        self.buffer.clear()
        self._chunks = None
        self._share.now(0)
        call, self.call = self.call, None
        if call is not None:
            self._face.left(call)

    def pause_writing(self) -> None:
        """The client reads too slowly: look at no further request of it."""
        self.paused, self.since = True, self._clients.now

    def resume_writing(self) -> None:
        """It has read on."""
        self.paused = False
        if self.state in (IDLE, HEAD, BODY) and self.buffer:
            self._clients.loop.call_soon(self._advance)


def _size(buffer: bytearray, chunks: Chunks | None) -> int:
    return len(buffer) + len(chunks.body) if chunks is not None else len(buffer)
