"""The data plane behind a transport that only pretends: bytes in, bytes out, no sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redpoll.catalog import Limits, Model
from redpoll.gateway.table import RouteTable
from redpoll.host.tokens import Tokens
from redpoll.routes import Table
from redpoll.web.clients import Clients
from redpoll.web.http import Connection
from redpoll.web.plane import DataPlane
from tests.gateway.rig import Rig, infer


class FakeTransport:
    """Keeps what is written. Strict: writing after the end is an error, as with uvloop."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = False
        self.ended = False
        self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert not self.closed, "written to a closed transport"
        assert not self.ended, "written after the end"
        self.out += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed while reading"
        self.reading = True


class Reply:
    """One reply off the wire."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n:]+: [^\r\n]*\r\n)*)\r\n")


def replies(out: bytes) -> list[Reply]:
    """Parse what was written, strictly: whole replies, one behind the other, and nothing else."""
    found, at = [], 0
    while at < len(out):
        head = _HEAD.match(out, at)
        assert head, f"no reply at {at}: {bytes(out[at : at + 120])!r}"
        lines = head.group(2).decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines if line)}
        status, at = int(head.group(1)), head.end()
        if status < 200:
            continue
        length = int(headers["content-length"])
        body = bytes(out[at : at + length])
        assert len(body) == length, "a reply is shorter than its length says"
        at += length
        found.append(Reply(status, headers, body))
    return found


class Plane:
    """Make it inside a running loop. Backends answer by themselves unless ``hold`` is set."""

    def __init__(
        self,
        folder: Path,
        model: Model = Model(name="m"),
        *,
        limits: Limits = Limits(),
        tokens: Tokens | None = None,
        **route: Any,
    ) -> None:
        self.rig = Rig(folder, model, limits=limits, **route)
        self.gateway = self.rig.gateway
        self.table = RouteTable(self.gateway, folder / "routes.json", "gateway")
        self.table.table = Table()
        self.plane = DataPlane(self.gateway, self.table, limits, folder, tokens)
        self.clients = Clients(self.plane, asyncio.get_running_loop())
        self.hold = False

    def connect(self) -> tuple[Connection, FakeTransport]:
        transport = FakeTransport()
        connection = self.clients.connect()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection, transport

    def hear(self, connection: Connection, data: bytes) -> None:
        """These bytes are read, and looked at now rather than at the end of this turn."""
        connection.data_received(data)
        self.gateway.tick.drain()

    async def settle(self, ticks: int = 4) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
            for backend in self.rig.backends.values():
                while backend.asked and not self.hold:
                    backend.answer()

    async def say(self, *pieces: bytes, ticks: int = 6) -> tuple[list[Reply], FakeTransport]:
        """A fresh connection says this, piece by piece; its replies."""
        connection, transport = self.connect()
        for piece in pieces:
            if transport.closed:
                break
            connection.data_received(piece)
        await self.settle(ticks)
        return replies(transport.out), transport

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        found, _ = await self.say(request(method, path, body, **headers))
        (only,) = found
        return only

    def whole(self) -> None:
        """Every request in the journal has its one live answer, and nobody is left."""
        asked = sorted(r.prediction_id for r in self.rig.requests())
        assert asked == sorted(a.prediction_id for a in self.rig.answers() if a.role == "live")
        assert len(set(asked)) == len(asked)
        assert self.gateway.taken == self.gateway.flying == self.gateway.waiting == 0


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as bytes; header names are written with underscores."""
    known = (
        {"host": "h", "content-length": str(len(body))}
        if body or method == "POST"
        else {"host": "h"}
    )
    known |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in known.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


INFER = "/v2/models/m/infer"
BODY = infer(1.0)
__all__ = ["BODY", "INFER", "FakeTransport", "Plane", "Reply", "infer", "replies", "request", "run"]
