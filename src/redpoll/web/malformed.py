"""What is no HTTP request (no ``Host``, broken bytes) gets an error of ours, not uvicorn's."""

from __future__ import annotations

import sys
from http import HTTPStatus

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from redpoll.errors import RedpollError
from redpoll.web.guard import HEADERS

TOO_LARGE = 431  # h11's hint where the head is larger than its bound


class Protocol(H11Protocol):
    """uvicorn's, but for the answer to bytes that h11 does not take for a request."""

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, with a code, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            error = said_of(sys.exception())
            body = msgspec.json.encode({"error": error.message, "code": error.code})
            head = h11.Response(
                status_code=error.status,
                headers=[
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"cache-control", b"no-store"),
                    (b"connection", b"close"),
                    *HEADERS,
                ],
                reason=HTTPStatus(error.status).phrase.encode(),
            )
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def said_of(error: BaseException | None) -> RedpollError:
    """What h11 complained of, as RP-100, RP-106 (the head is too large) or RP-502 (``Host``)."""
    why = str(error).rstrip(".") if isinstance(error, h11.RemoteProtocolError) else ""
    if "Host: header" in why:
        return RedpollError(
            "RP-502",
            f"The request was not read: {why}; HTTP/1.1 wants exactly one Host header, such as "
            "Host: 127.0.0.1:8081.",
        )
    if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == TOO_LARGE:
        return RedpollError(
            "RP-106", "The request's head is larger than the control plane takes; send less."
        )
    return RedpollError(
        "RP-100", f"The bytes are no HTTP request that redpoll understands: {why or 'malformed'}."
    )
