"""Open-loop load: a request is sent when it is due, however many are not answered yet."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from benchmarks._load import BODY

UNITS = 5000


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share does not pass; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Heard(NamedTuple):
    """What came of one round. Times in ms, from the moment a request was due."""

    seconds: float
    sent: int
    ok: list[float]
    refused: list[float]  # 503 at once, with Retry-After
    other: dict[int, int]  # status (0: the connection broke): how many
    late: list[float]  # how long after it was due each request was sent: the load's own fault
    wanting: int  # how often no connection was to be had

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return len(self.ok) / self.seconds


class Connection(asyncio.Protocol):
    """One request at a time."""

    transport: asyncio.Transport

    def __init__(self, load: OpenLoop) -> None:
        self.load, self.buffer, self.due = load, bytearray(), 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        end = buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = bytes(buffer[:end])
        at = head.index(b"content-length: ") + 16
        whole = end + int(head[at : head.index(b"\r", at)])
        if len(buffer) >= whole:
            del buffer[:whole]
            self.load.heard(self, int(head[9:12]), b"retry-after: " in head)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.load.lost(self)


class OpenLoop:
    """Load on one model of one server, to be made in a running loop."""

    def __init__(self, port: int, model: str) -> None:
        self.port = port
        self.idle: list[Connection] = []
        self.all: set[Connection] = set()
        self.result = Heard(0.0, 0, [], [], {}, [], 0)
        self.requests = [
            b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: h\r\ncontent-type: application/json\r\n"
            b"redpoll-unit: user-%d\r\ncontent-length: %d\r\n\r\n%b"
            % (model.encode(), unit, len(BODY), BODY)
            for unit in range(UNITS)
        ]

    async def open(self, count: int) -> None:
        """So many connections at least, before any load."""
        loop = asyncio.get_running_loop()
        while len(self.all) < count:
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
            self.all.add(made)
            self.idle.append(made)

    def heard(self, connection: Connection, status: int, retry_after: bool) -> None:
        """A reply is whole."""
        took_ms = (time.perf_counter() - connection.due) * 1000
        connection.due = 0.0
        if status == 200:
            self.result.ok.append(took_ms)
        elif status == 503 and retry_after:
            self.result.refused.append(took_ms)
        else:
            self.result.other[status] = self.result.other.get(status, 0) + 1
        self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection ended."""
        self.all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if connection.due:
            self.result.other[0] = self.result.other.get(0, 0) + 1

    async def run(self, rate: float, seconds: float) -> Heard:
        """Send at this rate for so long, then wait until all are answered."""
        self.result = Heard(seconds, 0, [], [], {}, [], 0)
        begin, sent, wanting = time.perf_counter(), 0, 0
        late = self.result.late
        while (now := time.perf_counter()) < begin + seconds:
            while begin + sent / rate <= now:
                due = begin + sent / rate
                sent += 1
                if not self.idle:
                    wanting += 1
                    continue
                connection = self.idle.pop()
                connection.due = due
                connection.transport.write(self.requests[sent * 7919 % UNITS])
                late.append((now - due) * 1000)
            await asyncio.sleep(max(0.0, begin + sent / rate - time.perf_counter()))
        for _ in range(1000):
            if len(self.idle) == len(self.all):
                break
            await asyncio.sleep(0.01)
        return self.result._replace(sent=sent, wanting=wanting)

    def close(self) -> None:
        """Hang up."""
        for connection in list(self.all):
            connection.transport.abort()
