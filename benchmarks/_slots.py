"""A backend with so many slots, each busy for so long with a request; started by ``overload``.

It answers every request with one fixed inference answer. What comes while all slots are busy waits.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque

import uvloop

ANSWER = b'{"model_name":"m","outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.25]}]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ANSWER), ANSWER,
)  # fmt: skip


class Slots:
    """Who is served, and who waits."""

    def __init__(self, count: int, busy_s: float) -> None:
        self.free, self.busy_s = count, busy_s
        self.waiting: deque[Client] = deque()
        self.loop = asyncio.get_running_loop()

    def take(self, client: Client) -> None:
        if self.free:
            self.free -= 1
            self.loop.call_later(self.busy_s, self.done, client)
        else:
            self.waiting.append(client)

    def done(self, client: Client) -> None:
        if not client.transport.is_closing():
            client.transport.write(REPLY)
        self.free += 1
        if self.waiting:
            self.take(self.waiting.popleft())


class Client(asyncio.Protocol):
    """One connection, one request at a time; requests have a Content-Length."""

    transport: asyncio.Transport

    def __init__(self, slots: Slots) -> None:
        self.slots, self.buffer = slots, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.index(b"\r\n", at)]) if at >= 0 else 0
        if len(self.buffer) >= end + length:
            del self.buffer[: end + length]
            if at >= 0:
                self.slots.take(self)
            else:
                self.transport.write(REPLY)  # a probe


async def serve(port: int, count: int, busy_s: float) -> None:
    """For ever."""
    loop = asyncio.get_running_loop()
    slots = Slots(count, busy_s)
    server = await loop.create_server(lambda: Client(slots), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
