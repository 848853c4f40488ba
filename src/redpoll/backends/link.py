"""One persistent HTTP/1.1 connection to a backend: one ask at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple, Protocol

import httptools

from redpoll.backends.port import Ask, Failure
from redpoll.host.tick import Inbox
from redpoll.host.wire import HEAD_END, Chunks, Remembered, TooLarge, WireError

log = logging.getLogger("redpoll.gateway")
HEAD_BYTES_MAX = 64 * 1024
_PASSED_ON = (
    b"content-type",
    b"retry-after",
    b"www-authenticate",
    b"content-language",
    b"inference-header-content-length",
)
_JSON = b"content-type: application/json\r\n"


class Head(NamedTuple):
    """The head of an answer, vetted."""

    status: int
    length: int  # of the body; -1: chunked, -2: up to the end of the connection
    keep_alive: bool
    lines: bytes  # header lines that are passed on
    refusal: str = ""  # why such an answer is not taken


class Owner(Protocol):
    """Who a link belongs to: the pool."""

    def finished(self, link: Link) -> None:
        """The link has its answer and may be used again."""
        ...

    def lost(self, link: Link, ask: Ask | None, why: str) -> None:
        """The link is gone, in the middle of ``ask`` or idle."""
        ...


heads: Remembered[Head] = Remembered(1024)  # of all answers, known by their bytes


class _Reader:
    """Collects what llhttp reads of one head."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def read_head(raw: bytes) -> Head:
    """Vet a head, from the status line to the empty line. Raises :class:`WireError`."""
    reader = _Reader()
    parser = httptools.HttpResponseParser(reader)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserError as error:
        raise WireError(str(error)) from None
    if not reader.complete:
        raise WireError("the head ends too early")
    status = parser.get_status_code()
    headers = dict(reader.headers)
    length = -2
    if status in (204, 304) or status < 200:
        length = 0
    elif b"transfer-encoding" in headers:
        length = -1 if headers[b"transfer-encoding"].strip().lower() == b"chunked" else -2
    elif b"content-length" in headers:
        length = int(headers[b"content-length"])
    lines = b"".join(
        name + b": " + headers[name] + b"\r\n" for name in _PASSED_ON if name in headers
    )
    lines = lines or _JSON
    refusal = ""
    if headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
        refusal = "it streams (text/event-stream), which this redpoll does not pass on yet"
    elif headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        refusal = "it is compressed though nobody asked for that"
    keep_alive = bool(parser.should_keep_alive()) and length != -2
    return Head(status, length, keep_alive, lines, refusal)


class Link(asyncio.Protocol):
    """A connection. ``ask`` is what it is working on; ``used`` whether it has answered before."""

    __slots__ = (
        "_answer_bytes_max", "_buffer", "_chunks", "_head", "_inbox", "address", "ask",
        "idle_since", "owner", "started", "transport", "used",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        address: Any,
        answer_bytes_max: int,
        inbox: Inbox[tuple[Link, bytes]] | None = None,
    ) -> None:
        self.address = address
        self._inbox = inbox
        self.ask: Ask | None = None
        self.used = False
        self.started = True  # a byte of the present answer has come, or nothing was asked
        self.idle_since = 0.0
        self.transport: asyncio.Transport | None = None
        self.owner = owner
        self._answer_bytes_max = answer_bytes_max
        self._buffer = bytearray()
        self._head: Head | None = None
        self._chunks: Chunks | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = transport  # type: ignore[assignment]

    def send(self, ask: Ask, prefix: bytes) -> bool:
        """Send an ask; ``prefix`` ends where the content length is to stand. False: it is closed."""
        transport, payload = self.transport, ask.payload
        if transport is None or transport.is_closing():
            return False
        self.ask = ask
        ask.link = self
        ask.attempts += 1
        self.started = False
        transport.write(b"%b%d\r\n%b\r\n%b" % (prefix, len(payload), ask.lines, payload))
        return True

    def get(self, ask: Ask, path: str, host: str, lines: bytes = b"") -> None:
        """Send a GET whose answer goes to ``ask``: a probe."""
        self.ask = ask
        ask.link = self
        self.started = False
        assert self.transport is not None
        head = f"GET {path} HTTP/1.1\r\nhost: {host}\r\n".encode()
        self.transport.write(b"%b%b\r\n" % (head, lines))

    def data_received(self, data: bytes) -> None:
        """Note what was read, for the end of this turn of the loop."""
        inbox = self._inbox
        if inbox is None:
            self.take(data)
            return
        inbox.noted.append((self, data))
        if not inbox.tick.scheduled:
            inbox.tick.schedule_unless_alone(1)

    def take(self, data: bytes) -> None:
        """Look at what is not, in one piece, a whole answer with a head that was seen before."""
        if self.ask is None:
            self.abort()  # nobody asked: the other side is confused
            return
        self.started = True
        self._buffer += data
        try:
            self._advance()
        except TooLarge:
            self._refuse(f"it is larger than {self._answer_bytes_max} bytes")
        except (WireError, ValueError) as error:
            self._refuse(f"it is not HTTP: {error}")

    def _advance(self) -> None:
        buffer = self._buffer
        while self._head is None:
            end = buffer.find(HEAD_END) + 4
            if end < 4:
                if len(buffer) > HEAD_BYTES_MAX:
                    raise WireError("its head is too long")
                return
            raw = bytes(buffer[:end])
            head = heads.get(raw) or read_head(raw)
            del buffer[:end]
            if head.status < 200:
                continue  # 100 and its kin say nothing yet
            if head.refusal:
                self._refuse(head.refusal)
                return
            if head.length > self._answer_bytes_max:
                raise TooLarge
            if head.length >= 0 and head.keep_alive:
                heads.put(raw, head)
            self._head = head
            self._chunks = Chunks(self._answer_bytes_max) if head.length == -1 else None
        head = self._head
        if self._chunks is not None:
            body = self._chunks.feed(buffer)
            if body is not None:
                self._done(head, body)
        elif head.length == -2:
            if len(buffer) > self._answer_bytes_max:
                raise TooLarge
        elif len(buffer) >= head.length:
            body = bytes(buffer[: head.length])
            del buffer[: head.length]
            self._done(head, body)

    def _done(self, head: Head, body: bytes) -> None:
        ask = self.ask
        assert ask is not None
        self.ask = ask.link = self._head = self._chunks = None
        self.used = True
        if self._buffer or not head.keep_alive:
            self.abort()
        else:
            self.owner.finished(self)
        ask.answered(head.status, head.lines, body)

    def _refuse(self, why: str) -> None:
        """Give the ask up: its answer cannot be used."""
        ask, self.ask = self.ask, None
        self.abort()
        if ask is not None:
            ask.link = None
            ask.failed(_unreadable(why))

    def abort(self) -> None:
        """Close at once; the owner is told now, not when the loop gets round to it."""
        self._buffer.clear()
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()
            self.owner.lost(self, None, "")

    def connection_lost(self, exc: BaseException | None) -> None:
        """The other side closed, or the connection broke."""
        if self._inbox is not None:
            self._inbox.tick.drain()  # what it had sent comes before its end
        if self.transport is None:
            return
        self.transport = None
        ask, self.ask = self.ask, None
        head = self._head
        if ask is not None and head is not None and head.length == -2 and exc is None:
            ask.link = None
            self.owner.lost(self, None, "")
            ask.answered(head.status, head.lines, bytes(self._buffer))
            return
        why = "the connection was reset" if exc else "the connection was closed"
        if ask is not None:
            ask.link = None
            if self.started:
                why += " in the middle of the answer"
        self.owner.lost(self, ask, why)


def _unreadable(why: str) -> Failure:
    return Failure(
        "RP-201",
        f"The model's answer could not be used: {why}. Nothing is wrong with the request; see the "
        "backend.",
    )
