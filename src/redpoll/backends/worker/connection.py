"""One client of the worker: its socket, and requests as they come whole."""

from __future__ import annotations

import socket
from typing import NamedTuple

HEAD_BYTES = 64 * 1024
BODY_BYTES = 256 * 1024 * 1024  # the gateway's own bound is the tighter one


class HttpRequest(NamedTuple):
    """One request. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    """Bytes that are no request for us: answered with ``status``, then the connection is closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = "RP-106" if status == 413 else "RP-100"


class Connection:
    """One client: its socket, what came and is not a whole request yet, what is not yet sent."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.buffer = bytearray()
        self.head: tuple[str, str, dict[str, str]] | None = None
        self.length = 0
        self.unsent = b""
        self.busy = False  # a request of this connection waits or is being answered
        self.last = False  # close after the reply
        self.closed = False

    def take(self) -> HttpRequest | None:
        """Take the next whole request, or None; raises :class:`Refused`."""
        if self.head is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self.buffer) > HEAD_BYTES:
                    raise Refused(413, f"the headers are larger than {HEAD_BYTES} bytes")
                return None
            self._read_head(bytes(self.buffer[:end]).decode("latin-1"))
            del self.buffer[: end + 4]
        if self.head is None or len(self.buffer) < self.length:
            return None
        body = bytes(self.buffer[: self.length])
        del self.buffer[: self.length]
        head, self.head = self.head, None
        return HttpRequest(*head, body)

    def _read_head(self, text: str) -> None:
        lines = text.lstrip("\r\n").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise Refused(400, "this is no HTTP/1.1 request")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise Refused(400, "a header has no colon")
            headers[name.lower()] = value.strip()
        if "transfer-encoding" in headers:
            raise Refused(501, "send the body with a Content-Length; chunks are not taken here")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Refused(400, "Content-Length is no number")
        self.length = int(length)
        if self.length > BODY_BYTES:
            raise Refused(413, f"the body is larger than {BODY_BYTES} bytes")
        connection = headers.get("connection", "").lower()
        self.last = "close" in connection or (
            parts[2] == "HTTP/1.0" and "keep-alive" not in connection
        )
        self.head = (parts[0], parts[1].partition("?")[0], headers)

    def gone(self) -> bool:
        """Whether the client left while its request waited."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
