"""Server-sent events: Decisions for programs, changed parts of a page for the console.

Both end at once when the server closes, so that an open page never delays a shutdown.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import StreamingResponse

from redpoll.views import DecisionView

if TYPE_CHECKING:
    from redpoll.control.service import Control

BACKLOG = 1000  # Decisions a slow reader may be behind before it is cut off
HEARTBEAT_S = 5.0
PAGE_S = 1.0
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Hub:
    """Hands every Decision to all who listen, and wakes pages when something was decided."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.closed = False
        self._queues: set[asyncio.Queue[DecisionView | None]] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen to control."""
        self._task = asyncio.get_running_loop().create_task(self._pump())

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        if self._task:
            self._task.cancel()
        for queue in self._queues:
            _end(queue)
        self._changed.set()

    async def _pump(self) -> None:
        async for decision in self.control.events():
            for queue in list(self._queues):
                if queue.full():  # it reconnects with Last-Event-ID and reads on
                    self._queues.discard(queue)
                    _end(queue)
                else:
                    queue.put_nowait(decision)
            self._changed.set()
            self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> None:
        """Return at the next Decision, at closing, or after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def decisions(self, after: str | None) -> AsyncIterator[DecisionView | None]:
        """Decisions newer than the id ``after``, then each as it is made; None: a heartbeat."""
        queue: asyncio.Queue[DecisionView | None] = asyncio.Queue(BACKLOG)
        self._queues.add(queue)
        try:
            sent = set()
            for decision in self.missed(after):
                sent.add(decision.decision_id)
                yield decision
            while not self.closed:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        found = await queue.get()
                except TimeoutError:
                    yield None
                    continue
                if found is None:
                    return
                if found.decision_id not in sent:
                    yield found
        finally:
            self._queues.discard(queue)

    def missed(self, after: str | None) -> list[DecisionView]:
        """What was decided after the id, oldest first; nothing where the id is not known."""
        if not after:
            return []
        newest_first = self.control.decisions(None, limit=BACKLOG)
        ids = [decision.decision_id for decision in newest_first]
        return list(reversed(newest_first[: ids.index(after)])) if after in ids else []


def _end(queue: asyncio.Queue[DecisionView | None]) -> None:
    while queue.full():
        queue.get_nowait()
    queue.put_nowait(None)


def frame(data: bytes, *, event: str = "", event_id: str = "") -> bytes:
    """One event: ``data`` must hold no line break (JSON of msgspec never does)."""
    head = f"id: {event_id}\n" if event_id else ""
    head += f"event: {event}\n" if event else ""
    return head.encode() + b"data: " + data + b"\n\n"


def decision_stream(hub: Hub, after: str | None) -> StreamingResponse:
    """``GET /api/v1/events``."""

    async def body() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n: connected\n\n"
        async for decision in hub.decisions(after):
            if decision is None:
                yield b": still here\n\n"
            else:
                yield frame(
                    msgspec.json.encode(decision), event="decision", event_id=decision.decision_id
                )

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)


def page_stream(hub: Hub, render: Callable[[], dict[str, Any]]) -> StreamingResponse:
    """A page's parts, at once and then each that changed, once a second and at every Decision.

    ``render`` answers ``{"parts": {name: html}, …}``; the rest is sent each time.
    """

    async def body() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        sent: dict[str, bytes] = {}
        while not hub.closed:
            page = render()
            parts = {}
            for name, html in page["parts"].items():
                digest = hashlib.blake2b(html.encode(), digest_size=16).digest()
                if sent.get(name) != digest:
                    sent[name] = digest
                    parts[name] = html
            yield frame(msgspec.json.encode({**page, "parts": parts}))
            await hub.changed(PAGE_S)

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)
