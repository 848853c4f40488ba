"""``server.metrics``: a listener that serves ``/metrics`` and nothing else, and needs no token.

It is the supervisor's own: there while gateways are started again, and out of the way of requests.
One request a connection; everything has a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from pathlib import Path

from redpoll.host.counters import render

log = logging.getLogger("redpoll.supervise")

HEAD_BYTES_MAX = 8 * 1024
WAIT_S = 5.0
AT_ONCE = 16
CONTENT = "text/plain; version=0.0.4; charset=utf-8"


class Exporter:
    """Serves the sum of what all processes counted."""

    def __init__(self, metrics: Path, listener: socket.socket) -> None:
        self._metrics = metrics
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(
            self._serve, sock=self._listener, limit=HEAD_BYTES_MAX
        )

    def stop(self) -> None:
        """End; who is being served is cut off."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= AT_ONCE:
                async with asyncio.timeout(WAIT_S):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who is slow, sends no request or goes away is let go
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path != "/metrics":
            return _reply("404 Not Found", f"Here is /metrics alone, not {path[:100]}.\n".encode())
        if method not in ("GET", "HEAD"):
            return _reply("405 Method Not Allowed", b"/metrics takes GET.\n", "Allow: GET\r\n")
        body = await asyncio.to_thread(render, self._metrics)
        return _reply("200 OK", body, head_only=method == "HEAD")


def _reply(status: str, body: bytes, lines: str = "", head_only: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT}\r\nContent-Length: {len(body)}\r\n"
        f"{lines}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if head_only else body)
