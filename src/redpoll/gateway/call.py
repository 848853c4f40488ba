"""A client's request on its way: what came over the wire, and what was decided about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec

from redpoll.backends.port import Ask, Failure
from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from redpoll.gateway.lanes import Lane, Served
    from redpoll.tensors.columns import Columns

# How the body is written.
OIP, ROWS = 0, 1
# Where a call stands.
TAKEN, WAITING, FLYING, DONE = 0, 1, 2, 3

_error = msgspec.json.Encoder()


class Head:
    """The head of a request, vetted. Shared by all requests whose heads are the same bytes."""

    __slots__ = (
        "deadline_ms", "endpoint", "expect", "forward", "groups", "headers", "keep_alive",
        "length", "method", "problem", "request_id", "subject", "target", "trace_id",
    )  # fmt: skip

    def __init__(self, method: str, target: str, headers: dict[bytes, bytes]) -> None:
        self.method = method
        self.target = target
        self.headers = headers  # names in lower case
        self.length = 0  # of the body, bytes; -1: chunked
        self.keep_alive = True
        self.expect = False  # the client waits for "100 Continue"
        self.endpoint: Any = None  # the face's own: what serves this address
        self.deadline_ms = 0  # 0: none was given
        self.request_id = ""
        self.subject: str | None = None
        self.groups: dict[str, str] = {}
        self.trace_id: str | None = None
        self.forward = b""  # header lines for backends, CRLF each
        self.problem: RedpollError | None = None  # a header that cannot be used


class Client(Protocol):
    """Where the reply goes: the face's connection."""

    def answered(self, call: Call) -> None:
        """The journal has it: send ``reply_status``, ``reply_lines`` and ``reply_body``."""
        ...


class Call(Ask):
    """One request to a model. The face fills the first part, the gateway the rest."""

    __slots__ = (
        "arm", "arrived_ns", "body", "client", "columns", "deadline_ns", "encoded_id", "groups",
        "has_id", "head", "inputs", "lane", "masks", "model", "patience", "prediction_id",
        "queue_us", "reply_body", "reply_lines", "reply_status", "request_id", "rows", "sent_ns",
        "served", "state", "unit", "version", "wanted", "wire",
    )  # fmt: skip

    served: Served
    lane: Lane
    request_id: str
    encoded_id: bytes  # the request's id, fit for a header
    columns: Columns  # of plain rows
    patience: int  # milliseconds until its deadline
    deadline_ns: int

    def __init__(
        self, client: Client, head: Head, model: str, version: str | None, wire: int, body: bytes
    ) -> None:
        super().__init__()
        self.client = client
        self.head = head
        self.model = model
        self.version = version  # as requested; None: the route decides
        self.wire = wire
        self.body = body
        self.arrived_ns = time.monotonic_ns()
        self.state = TAKEN
        self.rows = 0
        self.has_id = False  # the body itself carries the request's id
        self.prediction_id = ""
        self.arm = "none"
        self.unit: str | None = None
        self.groups: dict[str, str] = head.groups
        self.inputs: str | None = None  # for the journal, where the body may not be kept as it is
        self.masks: Any = None  # what must not be seen in answers
        self.wanted: list[str] | None = None  # outputs that were asked for
        self.patience = 0
        self.queue_us = 0
        self.sent_ns = 0
        self.reply_status = 0
        self.reply_lines = b""
        self.reply_body = b""

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        """The backend answered."""
        self.served.gateway.on_answer(self, status, lines, body)

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
        if self.prediction_id:
            lines += b"redpoll-prediction-id: %b\r\nx-request-id: %b\r\n" % (
                self.prediction_id.encode(),
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
