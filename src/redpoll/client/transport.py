"""Persistent HTTP connections that threads may share, and a retry that is always safe.

A request is sent a second time only where a *reused* connection turns out closed before any byte
of an answer came: then the other side had given the connection up before it saw the request.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redpoll.client.errors import ClientError

IDLE_CONNECTIONS = 16  # kept for reuse; more may be open at once
IDLE_S = 60.0  # given up before the server's 75 s
BODY_BYTES_MAX = 64 * 1024 * 1024


class Reply(NamedTuple):
    """An answer, read whole. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's value; ``ClientError`` RP-201 where it is no JSON."""
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            start = self.body[:80].decode("utf-8", "replace")
            raise ClientError(
                "RP-201",
                f"the server's answer is no JSON: {start!r}; is the address that of redpoll?",
                status=self.status,
            ) from None


class _Stale(Exception):
    """A reused connection was closed before any byte of an answer."""


class Transport:
    """Requests to one server. Every call takes a connection of its own: safe among threads."""

    def __init__(
        self, base: str, *, token: str | None, timeout_s: float, cert: str | None = None
    ) -> None:
        """``cert``: a file with the one certificate that is trusted, whatever host it names."""
        self.base = base if "://" in base else f"http://{base}"
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(
                "RP-601", f"{base!r} is no address; write it like http://127.0.0.1:8080"
            )
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        try:
            self._port = parts.port or (443 if self._tls else 80)
        except ValueError:
            raise ClientError("RP-601", f"{base!r} has no valid port") from None
        self._prefix = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s
        self._cert = cert
        self._context: ssl.SSLContext | None = None
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)  # for whoever forgets to close

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """Send one request and read its whole answer, whatever its status.

        Raises ``ClientError``: RP-601 where nobody answers, RP-602 after ``timeout_s`` seconds.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        sent = dict(self._headers) | dict(headers or {})
        connection = self._take()
        try:
            if connection is not None:
                try:
                    return self._exchange(connection, method, path, body, sent, limit_s, True)
                except _Stale:
                    pass
            return self._exchange(self._open(limit_s), method, path, body, sent, limit_s, False)
        except TimeoutError:
            raise ClientError(
                "RP-602", f"no answer from {self.base} within {limit_s:g} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(
                "RP-601",
                f"no answer from {self.base}: {_words(error)}; is `redpoll serve` running?",
            ) from None

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """As :meth:`request`, but an answer of 400 or more is raised as a ``ClientError``."""
        reply = self.request(method, path, body, headers, timeout_s)
        if reply.status >= 400:
            raise refused(reply)
        return reply

    def close(self) -> None:
        """Close the idle connections. The transport may be used again."""
        with self._lock:
            _close_all(self._idle)

    def open_stream(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """A GET whose body the caller reads as it comes (server-sent events), and closes."""
        connection = self._open(self._timeout_s)
        try:
            connection.request("GET", self._prefix + path, headers=self._headers | dict(headers))
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ClientError("RP-601", f"no answer from {self.base}: {_words(error)}") from None
        if response.status >= 400:
            reply = Reply(response.status, {}, response.read())
            connection.close()
            raise refused(reply)
        return response

    def _take(self) -> http.client.HTTPConnection | None:
        oldest = time.monotonic() - IDLE_S
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            # Readable while nothing is asked: the other side closed it (or talks out of turn).
            if since >= oldest and connection.sock and not _readable(connection.sock):
                return connection
            connection.close()

    def _give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._tls:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=self._trust()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _trust(self) -> ssl.SSLContext:
        """Whose certificates count: made once, for it reads the system's authorities."""
        if self._context is None:
            if self._cert is None:
                self._context = ssl.create_default_context()
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                context.load_verify_locations(self._cert)
                self._context = context
        return self._context

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str | bytes],
        timeout_s: float,
        reused: bool,
    ) -> Reply:
        keep = False
        try:
            connection.sock.settimeout(timeout_s)
            try:
                # An early refusal (413) closes while we still send: its answer can be read.
                with contextlib.suppress(BrokenPipeError):
                    connection.request(method, self._prefix + path, body, dict(headers))
                _await_first_byte(connection.sock)
                response = connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                if reused:
                    raise _Stale from error
                raise
            content = _content(response)
            keep = not response.will_close
            named = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, named, content)
        finally:
            if keep:
                self._give(connection)
            else:
                connection.close()


def _close_all(idle: list[tuple[float, http.client.HTTPConnection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _content(response: http.client.HTTPResponse) -> bytes:
    """The whole body; ``HTTPException`` where it ends before its announced length."""
    announced = response.length is not None and response.length <= BODY_BYTES_MAX
    # Only a read without a size notices that an announced body was cut short.
    content = response.read() if announced else response.read(BODY_BYTES_MAX + 1)
    if len(content) > BODY_BYTES_MAX:
        raise ClientError("RP-106", "the answer is larger than this client reads")
    return content


def refused(reply: Reply) -> ClientError:
    """The exception for an answer of status 400 or more, with the server's own words."""
    problems: tuple[dict[str, Any], ...] = ()
    try:
        said = json.loads(reply.body)
        code, message = str(said["code"]), str(said["error"])
        problems = tuple(p for p in said.get("problems", ()) if isinstance(p, dict))
    except (ValueError, KeyError, TypeError):
        code = "RP-601" if reply.status < 500 else "RP-600"
        message = (
            f"the server answered {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}"
        )
    wait = reply.headers.get("retry-after", "")
    return ClientError(
        code,
        message,
        status=reply.status,
        retry_after_s=float(wait) if wait.isdigit() else None,
        problems=problems,
    )


def _await_first_byte(sock: socket.socket) -> None:
    """Return once a byte of the answer is there; ``ConnectionError`` if the end came first.

    Once a byte came, a broken connection is a failure that must not be hidden by sending again.
    """
    if isinstance(sock, ssl.SSLSocket):
        return  # cannot peek; http.client tells an empty answer apart (RemoteDisconnected)
    if not sock.recv(1, socket.MSG_PEEK):
        raise http.client.RemoteDisconnected("closed before any byte of an answer")


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__
