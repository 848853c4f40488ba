"""Heads of requests: vetted by llhttp, then read once for all requests that share their bytes."""

from __future__ import annotations

import re

import httptools

from redpoll.catalog import FIELD_NAME
from redpoll.errors import RedpollError
from redpoll.gateway.call import Head, binary_line, text_of
from redpoll.web.coding import wanted

GROUPS_MAX = 32
DEADLINE_MS_MAX = 24 * 3600 * 1000
_GROUP = b"redpoll-group-"
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?\Z")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
# Of these there may be one; of others the values are joined, as HTTP has it.
_ONCE = frozenset(
    b"host authorization content-type content-encoding x-request-id expect traceparent "
    b"inference-header-content-length".split()
)


class Malformed(Exception):
    """The head is no HTTP request that is taken here."""


class _Reader:
    """Collects what llhttp reads."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))  # llhttp keeps it at the end

    def on_headers_complete(self) -> None:
        self.complete = True


class Sniffer:
    """Looks at a head that comes in pieces, so that nonsense is refused before its end comes."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(_Reader())
        self._seen = 0

    def look(self, buffer: bytearray) -> None:
        """Raise :class:`Malformed` where what has come so far cannot begin a request."""
        piece = bytes(buffer[self._seen :])
        self._seen = len(buffer)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError as error:
            raise Malformed(str(error)) from None


def vet(raw: bytes) -> Head:
    """A head from its request line to the empty line. Raises :class:`Malformed`."""
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer to speak another protocol: we stay with this one
    except httptools.HttpParserError as error:
        raise Malformed(str(error)) from None
    if not reader.complete:
        raise Malformed("the head ends too early")
    method, version = parser.get_method().decode(), parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise Malformed(f"HTTP/{version} is not spoken here")
    headers = _unique(reader.headers)
    if version == "1.1" and b"host" not in headers:
        raise Malformed("HTTP/1.1 wants a Host header")
    head = Head(method, _path(reader.target), headers)
    connection = {part.strip() for part in headers.get(b"connection", b"").lower().split(b",")}
    head.keep_alive = b"close" not in connection and (
        version == "1.1" or b"keep-alive" in connection
    )
    if version == "1.0" and head.keep_alive:
        head.also = b"connection: keep-alive\r\n"  # without it an old client waits for the end
    head.plain = head.keep_alive and method != "HEAD" and not head.also
    if b"transfer-encoding" in headers:
        if headers[b"transfer-encoding"].strip().lower() != b"chunked" or version == "1.0":
            raise Malformed("the only transfer coding that is taken is chunked, with HTTP/1.1")
        if b"content-length" in headers:
            raise Malformed("both Content-Length and Transfer-Encoding")
        head.length = -1
    elif b"content-length" in headers:
        head.length = int(headers[b"content-length"])
    head.expect = version == "1.1" and headers.get(b"expect", b"").lower() == b"100-continue"
    return head


def _unique(listed: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in listed:
        before = headers.get(name)
        if before is None:
            headers[name] = value
        elif name in _ONCE or name.startswith(b"redpoll-"):
            raise Malformed(f"the header {name.decode('latin-1')} came twice")
        else:
            headers[name] = before + b", " + value
    return headers


def _path(target: bytes) -> str:
    """The path that is asked for, without query; absolute targets are taken."""
    text = target.decode("latin-1")
    absolute = _ABSOLUTE.match(text)
    if absolute is not None:
        text = text[absolute.end() :] or "/"
    return text.partition("?")[0].partition("#")[0]


def read(head: Head) -> None:
    """Fill in what redpoll's own headers say; what cannot be used becomes ``head.problem``."""
    try:
        _read(head)
    except RedpollError as error:
        head.problem = error


def _read_binary(head: Head, said: bytes) -> None:
    """Where a body's JSON ends and its binary tensors begin."""
    if not said.isdigit() or len(said) > 15:
        raise RedpollError(
            "RP-120",
            "The header Inference-Header-Content-Length is no number of bytes; it counts those of "
            "the JSON before the binary tensors.",
        )
    head.binary = int(said)
    head.forward += binary_line(head.binary)


def _read(head: Head) -> None:
    headers = head.headers
    traceparent = headers.get(b"traceparent")
    if traceparent is not None:
        found = _TRACEPARENT.match(traceparent)
        if found is not None and found.group(1) != b"0" * 32:
            head.trace_id = found.group(1).decode()
            head.forward = b"traceparent: %b\r\n" % traceparent
            if b"tracestate" in headers:
                head.forward += b"tracestate: %b\r\n" % headers[b"tracestate"]
    if b"accept-encoding" in headers:
        head.coding = wanted(headers[b"accept-encoding"])
    if b"inference-header-content-length" in headers:
        _read_binary(head, headers[b"inference-header-content-length"])
    if b"x-request-id" in headers:
        head.request_id = text_of(headers[b"x-request-id"], b"x-request-id")
    if headers.get(b"redpoll-subject"):
        head.subject = text_of(headers[b"redpoll-subject"], b"redpoll-subject")
    groups: dict[str, str] = {}
    for name, value in headers.items():
        if name.startswith(_GROUP):
            group = name[len(_GROUP) :].decode("latin-1").replace("-", "_")
            if FIELD_NAME.match(group) is None or len(groups) >= GROUPS_MAX:
                raise RedpollError(
                    "RP-101",
                    f"The header {name.decode('latin-1')} names no group: a group is written "
                    f"[a-z][a-z0-9_]*, and at most {GROUPS_MAX} are taken.",
                )
            groups[group] = text_of(value, name)
    head.groups = groups
    deadline = headers.get(b"redpoll-deadline-ms")
    if deadline is not None:
        text = deadline.strip()
        if not text.isdigit() or len(text) > 12 or int(text) == 0:
            raise RedpollError(
                "RP-101",
                "The header redpoll-deadline-ms is not a whole number of milliseconds above 0; "
                "send for example 250.",
            )
        head.deadline_ms = min(int(text), DEADLINE_MS_MAX)
