"""HTTP/1.1 on a Unix socket, small and quick: calls one at a time, health at any time.

The main thread reads, asks the model and replies: no thread is handed anything, so a call costs a
few system calls more than ``predict`` itself. Only while one call takes long (or the model loads)
does a second thread, the relief, take the sockets over: it answers health and lets calls queue.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .batches import Expected, Limits
from .connection import Connection, HttpRequest, Refused

CONNECTIONS = 1024
LONG_CALL_S = 0.03
WAIT_LEAST_S = 0.001  # what the kernel's clock for waiting tells apart
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class Reply(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    head_bytes: int | None = None  # of its JSON, where binary tensors follow


class Server:
    """Serves until :meth:`stop`. ``quick`` answers at once or returns None: then ``call`` does.

    With ``batch``, ``call`` gets several requests at once, else one; it returns a reply for each.
    """

    def __init__(
        self,
        listener: socket.socket,
        quick: Callable[[HttpRequest], Reply | None],
        call: Callable[[list[HttpRequest]], list[Reply]],
        batch: Limits | None = None,
    ) -> None:
        listener.setblocking(False)
        self.listener = listener
        self.quick = quick
        self.call = call
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._awake)
        self._connections: set[Connection] = set()
        self._pending: deque[tuple[Connection, HttpRequest]] = deque()
        self._io = threading.Lock()  # whoever holds it uses the selector
        self._in_call = True  # loading counts as a call: the relief has the sockets
        self._calls = 0
        self._current: list[Connection] = []
        self._batch = batch
        self._expected = Expected(batch.rows if batch else 1)
        self._relieving = False
        self._long = threading.Event()
        self._long.set()
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._forked)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back when a foreign descriptor becomes readable (to be told before start)."""
        self._selector.register(fd, selectors.EVENT_READ, lambda _events: callback())

    def start(self) -> None:
        """Answer health, and only that, from the second thread while the model loads."""
        threading.Thread(target=self._relieve, name="redpoll-relief", daemon=True).start()

    def stop(self) -> None:
        """End once what has arrived is answered; safe in a signal handler."""
        self.stopping = True
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"s")

    def run(self) -> None:
        """Serve, from the main thread, until stopped and all that arrived is answered."""
        self._take_io_back()
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        while True:
            if self._pending:
                self._answer(self._taken())
            elif not self.stopping:
                self._turn(None)
            elif self._turn(0.0) == 0:
                break
        for connection in list(self._connections):
            self._close(connection)
        self.listener.close()

    def _take_io_back(self) -> None:
        self._in_call = False
        if self._relieving:
            os.write(self._wake_write, b"r")
        self._io.acquire()

    def _taken(self) -> list[tuple[Connection, HttpRequest]]:
        """Take what is answered next: one request, or those that came together."""
        if self._batch is None:
            return [self._pending.popleft()]
        end = time.monotonic() + self._batch.wait_s
        while len(self._pending) < self._expected.requests and not self.stopping:
            left = end - time.monotonic()
            if left <= 0 or (not self._turn(left) and left <= WAIT_LEAST_S):
                break
        count = min(len(self._pending), self._batch.rows)
        return [self._pending.popleft() for _ in range(count)]

    def _answer(self, taken: list[tuple[Connection, HttpRequest]]) -> None:
        """Ask the model, with the sockets free for the relief meanwhile."""
        asked = []
        for connection, request in taken:
            if connection.closed or (len(self._connections) > 1 and connection.gone()):
                self._close(connection)  # its deadline has passed while it waited
            else:
                asked.append((connection, request))
        if not asked:
            return
        self._calls += 1
        self._current = [connection for connection, _ in asked]
        self._in_call = True
        if not self._long.is_set():
            self._long.set()
        self._io.release()
        try:
            replies = self.call([request for _, request in asked])
            if os.getpid() != self._pid:
                os._exit(0)  # the model forked, and this is the child: it has no business here
        finally:
            self._take_io_back()
            self._current = []
        if self._batch is not None:
            self._turn(0.0)  # who came meanwhile is here before those who are answered come back
            self._expected.learn(len(asked), len(self._pending))
        for (connection, _), reply in zip(asked, replies):
            self._send(connection, reply)

    def _relieve(self) -> None:
        """Run the second thread: asleep without traffic, looking every 30 ms with it."""
        while True:
            self._long.wait()
            calls = self._calls
            if calls:
                time.sleep(LONG_CALL_S)
            if self._calls != calls:
                continue
            if not self._in_call:
                self._long.clear()
                if self._calls != calls:
                    self._long.set()
                continue
            if self._io.acquire(blocking=False):
                self._relieving = True
                current = [one for one in self._current if not one.closed]
                for one in current:
                    self._selector.unregister(one.sock)
                while self._in_call:
                    self._turn(1.0)
                for one in current:
                    if not one.closed:
                        self._selector.register(one.sock, selectors.EVENT_READ, one)
                self._relieving = False
                self._io.release()

    def _turn(self, timeout: float | None) -> int:
        """Wait for and handle what the sockets bring; returns how many of them had something."""
        events = self._selector.select(timeout)
        for key, mask in events:
            if type(key.data) is Connection:
                self._on_connection(key.data, mask)
            else:
                key.data(mask)
        return len(events)

    def _on_connection(self, connection: Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send_rest(connection)
            return
        try:
            data = connection.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.buffer += data
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        """Answer the connection's next whole request, or queue it for the model."""
        while not connection.busy and not connection.closed and not connection.unsent:
            try:
                request = connection.take()
            except Refused as error:
                connection.last = True
                body = json.dumps({"error": str(error), "code": error.code}).encode()
                self._send(connection, Reply(error.status, body))
                return
            if request is None:
                return
            connection.busy = True
            reply = self.quick(request)
            if reply is None:
                self._pending.append((connection, request))
            else:
                self._send(connection, reply)

    def _send(self, connection: Connection, reply: Reply) -> None:
        if connection.closed:
            return
        if self.stopping:
            connection.last = True
        kind = "application/json"
        if reply.head_bytes is not None:
            kind = (
                f"application/octet-stream\r\nInference-Header-Content-Length: {reply.head_bytes}"
            )
        head = (
            f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Status')}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(reply.body)}\r\n"
            f"{'Connection: close' + chr(13) + chr(10) if connection.last else ''}\r\n"
        )
        connection.busy = False
        connection.unsent = head.encode() + reply.body
        self._send_rest(connection)
        if connection.buffer:
            self._next(connection)

    def _send_rest(self, connection: Connection) -> None:
        waited = len(connection.unsent)
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        connection.unsent = connection.unsent[sent:] if sent < waited else b""
        if connection.unsent:
            self._selector.modify(connection.sock, selectors.EVENT_WRITE, connection)
            return
        if connection.last:
            self._close(connection)
        elif sent < waited or self._selector.get_key(connection.sock).events != 1:
            self._selector.modify(connection.sock, selectors.EVENT_READ, connection)

    def _accept(self, _mask: int) -> None:
        for _ in range(64):
            try:
                sock, _address = self.listener.accept()
            except OSError:
                return
            if len(self._connections) >= CONNECTIONS:
                sock.close()
                continue
            connection = Connection(sock)
            self._connections.add(connection)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _awake(self, _mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _close(self, connection: Connection) -> None:
        if not connection.closed:
            connection.closed = True
            self._connections.discard(connection)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection.sock)
            connection.sock.close()

    def _forked(self) -> None:
        """In a child that the model forked: let go of the sockets, or no end of them is seen."""
        for sock in [self.listener, *(connection.sock for connection in self._connections)]:
            with contextlib.suppress(OSError):
                sock.close()


def bind(path: str) -> socket.socket:
    """Listen on a Unix socket that only this user may connect to; a stale one is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(1024)
    return listener


def document(status: int, value: dict[str, Any]) -> Reply:
    """Make a JSON reply."""
    return Reply(status, json.dumps(value).encode())
