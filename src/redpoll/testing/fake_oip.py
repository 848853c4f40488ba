"""A small server of the Open Inference Protocol, for tests: it does as it is told.

It runs on a thread of its own, on TCP or on a Unix socket. What it answers is decided by a function
of the request; :class:`Answer` can also misbehave on the wire.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Request:
    """What came: header names in lower case. ``connection`` counts connections from 0."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    number: int  # on its connection, from 0


@dataclass(frozen=True)
class Answer:
    """What goes back. ``hang_up``: ``before`` any byte, in the ``middle``, or ``after`` the answer.

    ``framing`` is ``length``, ``chunked`` or ``eof``; ``raw`` replaces everything.
    """

    status: int = 200
    body: bytes = b'{"outputs":[]}'
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    hang_up: str = ""
    framing: str = "length"
    raw: bytes | None = None


Decide = Callable[[Request], Answer]


def echo(request: Request) -> Answer:
    """Every input comes back as an output of its name; the id is echoed."""
    said = json.loads(request.body)
    document: dict[str, Any] = {
        "model_name": request.path.split("/")[3],
        "outputs": [
            {key: tensor[key] for key in ("name", "shape", "datatype", "data")}
            for tensor in said["inputs"]
        ],
    }
    if "id" in said:
        document["id"] = said["id"]
    return Answer(body=json.dumps(document).encode())


def constant(name: str, value: Any, datatype: str = "FP64") -> Decide:
    """One output with the same value for every row."""

    def decide(request: Request) -> Answer:
        rows = json.loads(request.body)["inputs"][0]["shape"][0]
        tensor = {"name": name, "shape": [rows], "datatype": datatype, "data": [value] * rows}
        return Answer(body=json.dumps({"outputs": [tensor]}).encode())

    return decide


class FakeOip:
    """The server. ``decide`` may be changed while it runs; ``ready`` is what probes are told."""

    def __init__(
        self,
        decide: Decide = echo,
        *,
        socket: str = "",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.decide = decide
        self.ready = True
        self.said = b'{"name":"m","inputs":[],"outputs":[]}'  # to every GET
        self.requests: list[Request] = []  # inference only
        self.connections = 0
        self.open = 0  # connections now
        self.idle_s: float | None = None  # keep-alive: closes what is idle that long
        self.port = port
        self.socket = socket
        self.tls = tls
        self.probed: list[Request] = []  # every GET
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Of model ``m`` here; for a Unix socket ``unix:<path>``."""
        if self.socket:
            return f"unix:{self.socket}"
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/v2/models/m"

    def __enter__(self) -> FakeOip:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the fake server did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10)

    def hang_up(self) -> None:
        """Reset every connection, as a crash does."""
        self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except asyncio.CancelledError:
            pass
        finally:
            self._reset()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    async def _serve(self) -> None:
        if self.socket:
            self._server = await asyncio.start_unix_server(self._client, self.socket)
        else:
            self._server = await asyncio.start_server(
                self._client, "127.0.0.1", self.port, ssl=self.tls
            )
            self.port = self._server.sockets[0].getsockname()[1]
        self._started.set()
        await asyncio.get_running_loop().create_future()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, number = self.connections, 0
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while True:
                request = await self._read(reader, connection, number)
                if request is None:
                    break
                number += 1
                if not await self._answer(request, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self.open -= 1
            writer.close()

    async def _read(
        self, reader: asyncio.StreamReader, connection: int, number: int
    ) -> Request | None:
        try:
            async with asyncio.timeout(self.idle_s):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError):
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        return Request(method, path, headers, body, connection, number)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer; False where the connection is to be closed."""
        if request.method == "GET":
            self.probed.append(request)
            answer = Answer(200 if self.ready else 503, self.said)
        else:
            self.requests.append(request)
            answer = self.decide(request)
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.hang_up == "before":
            return False
        data = answer.raw if answer.raw is not None else _encode(answer)
        if answer.hang_up == "middle":
            data = data[: len(data) - max(1, len(answer.body) // 2)]
        writer.write(data)
        await writer.drain()
        return not answer.hang_up and answer.framing != "eof"


def _encode(answer: Answer) -> bytes:
    headers = {"content-type": "application/json"} | dict(answer.headers)
    body = answer.body
    if answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
        half = len(body) // 2
        pieces = [piece for piece in (body[:half], body[half:]) if piece]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif answer.framing == "length":
        headers["content-length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} X\r\n{lines}\r\n".encode() + body
