"""A client's request on its way: what came over the wire, and what was decided about it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec

from redpoll.backends.port import Ask, Failure
from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from redpoll.gateway.choice import Ticket
    from redpoll.gateway.lanes import Lane, Served
    from redpoll.tensors.binary import Asked
    from redpoll.tensors.columns import Columns

# How the body is written.
OIP, ROWS, INVOCATIONS = 0, 1, 2
TEXT_CHARACTERS_MAX = 512  # of a unit, a group, an id
# Where a call stands.
# ANSWERED: by its backend, in this turn of the loop.
TAKEN, WAITING, FLYING, ANSWERED, DONE = range(5)

# What a client sent, and what a backend did: status, header lines, body.
Arrived = tuple["Client", "Head", bytes]
Answered = tuple["Call", int, bytes, bytes]

_VARYING = (b"content-length", b"x-request-id")
_error = msgspec.json.Encoder()


class Head:
    """The head of a request, vetted. Shared by all requests whose heads are the same bytes."""

    length = 0  # of the body, bytes; -1: chunked
    keep_alive = True
    binary = -1  # bytes of a body's JSON where tensors follow it (Inference-Header-Content-Length)
    coding = b""  # how the client likes large answers compressed
    also = b""  # header lines of every reply to it, CRLF each
    plain = False  # its reply has a body and no lines of its own, and the connection is kept
    expect = False  # the client waits for "100 Continue"
    arrivals: Any = None  # the inbox for what comes with it, where nothing else is to be seen
    serve: Any  # what serves a connection's request with this head: (connection, head, body)
    endpoint: Any = None  # the face's own: what the address means
    model = ""  # of an inference: as the address has it, like version and wire below
    version: str | None = None
    wire = 0
    deadline_ms = 0  # 0: none was given
    request_id = ""
    subject: str | None = None
    trace_id: str | None = None
    forward = b""  # header lines for backends, CRLF each
    problem: RedpollError | None = None  # a header that cannot be used
    groups: dict[str, str]

    def __init__(self, method: str, target: str, headers: dict[bytes, bytes]) -> None:
        self.method = method
        self.target = target
        self.headers = headers  # names in lower case
        self.groups = {}
        self.ticket: Ticket | None = None  # what was decided about an equal request
        self._texts: dict[bytes, str | None] = {}

    def varied(self, length: bytes, own_id: bytes) -> Head:
        """The same head with another length of the body and, if not b"", another request's id."""
        head = copy(self)
        head.length = int(length)
        head.headers = {**self.headers, b"content-length": length}
        if own_id:
            head.headers[b"x-request-id"] = own_id
            head.request_id = own_id.decode()
        head._texts = {}
        if self.ticket is not None and self.ticket.served.unit_header in _VARYING:
            head.ticket = None
        return head

    def without_binary(self) -> Head:
        """The same head, for a body that is JSON alone after all."""
        plain = copy(self)
        plain.binary, plain.forward = -1, self.forward.replace(binary_line(self.binary), b"")
        return plain

    def text(self, name: bytes) -> str | None:
        """A header's value as text (UTF-8, else Latin-1), bounded; None: there is none, or "".

        Read once for all requests that share this head. Raises ``RedpollError`` RP-101.
        """
        try:
            return self._texts[name]
        except KeyError:
            raw = self.headers.get(name)
            text = self._texts[name] = text_of(raw, name) if raw else None
            return text


def binary_line(head_bytes: int) -> bytes:
    """The header line that says where the JSON of a body with binary tensors ends."""
    return b"inference-header-content-length: %d\r\n" % head_bytes


def text_of(raw: bytes, header: bytes) -> str:
    """A header's value as text: UTF-8, else Latin-1; bounded."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if len(text) > TEXT_CHARACTERS_MAX:
        raise RedpollError(
            "RP-101",
            f"The header {header.decode('latin-1')} has {len(text)} characters; at most "
            f"{TEXT_CHARACTERS_MAX} are taken.",
        )
    return text


class Client(Protocol):
    """Where the reply goes: the face's connection."""

    call: Call | None  # what it waits for

    def answered(self, call: Call) -> None:
        """The journal has it: send ``reply_status``, ``reply_lines`` and ``reply_body``."""
        ...


class Call(Ask):
    """One request to a model. The face fills the first part, the gateway the rest."""

    # What a call begins with stands here once, not in each of them: they are made for every request.
    state = TAKEN
    rows = 0
    noted = True  # the journal has the request, or will have it
    kept = True  # the journal has, or will have, its body and its answer's
    has_id = False  # the body itself carries the request's id
    pid = b""  # the prediction's id
    own_id: str | None = None  # the request's id, where its client gave one
    arm = "none"
    unit: str | None = None
    groups: dict[str, str] | None = None  # where values say more than the head does
    inputs: str | None = None  # for the journal, where the body may not be kept as it is
    masks: Any = None  # what must not be seen in answers
    asked: Asked | None = None  # which outputs are wanted as binary tensors
    wanted: list[str] | None = None  # outputs that were asked for
    queue: dict[Call, None] = {}  # where its deadline stands
    patience = 0  # milliseconds until its deadline
    queue_us = 0
    sent_ns = 0
    reply_status = 0
    reply_lines = b""
    reply_body = b""
    columns: Columns  # of plain rows
    served: Served
    lane: Lane

    def __init__(self, client: Client, head: Head, body: bytes, arrived_ns: int) -> None:
        self.client = client
        self.head = head
        self.body = self.payload = body
        self.arrived_ns = arrived_ns

    @property
    def model(self) -> str:
        """Whom it is for, as asked."""
        return self.head.model

    @property
    def version(self) -> str | None:
        """As asked; None: the route decides."""
        return self.head.version

    @property
    def wire(self) -> int:
        """How the body is written."""
        return self.head.wire

    @property
    def prediction_id(self) -> str:
        """Given when the call is taken in; "" where it never was."""
        return self.pid.decode()

    @property
    def request_id(self) -> str:
        """The client's own id, else the prediction's."""
        return self.pid.decode() if self.own_id is None else self.own_id

    @property
    def encoded_id(self) -> bytes:
        """The request's id, fit for a header."""
        return self.pid if self.own_id is None else header_safe(self.own_id)

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        """The backend answered: it is looked at at the end of the tick."""
        self.state = ANSWERED
        inbox = self.served.answered
        inbox.noted.append((self, status, lines, body))
        if not inbox.tick.scheduled:
            inbox.tick.schedule()

    def failed(self, failure: Failure) -> None:
        """The backend did not."""
        self.served.gateway.on_failure(self, failure)

    def refuse(self, error: RedpollError) -> None:
        """Make the error the reply; who calls sees that it is sent."""
        self.reply_status, self.reply_body = error.status, error_body(error)
        lines = b"content-type: application/json\r\n"
        if error.retry_after_s is not None:
            lines += b"retry-after: %d\r\n" % error.retry_after_s
        elif error.status == 503:
            lines += b"retry-after: 1\r\n"
        if self.pid:
            lines += b"redpoll-prediction-id: %b\r\nx-request-id: %b\r\n" % (
                self.pid,
                self.encoded_id,
            )
        self.reply_lines = lines


def error_body(error: RedpollError) -> bytes:
    """``{"error": …, "code": …}``."""
    return _error.encode({"error": error.message, "code": error.code})


def header_safe(text: str) -> bytes:
    """A text as a header's value: as it is where that is plain, else percent-encoded."""
    if text.isascii() and text.isprintable() and text == text.strip():
        return text.encode()
    return quote(text, safe="", errors="surrogatepass").encode()
