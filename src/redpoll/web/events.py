"""Server-sent events: Decisions for programs, changed parts of a page for the console.

Both end at once when the server closes, so that an open page never delays a shutdown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import StreamingResponse

from redpoll.errors import RedpollError
from redpoll.views import DecisionView

if TYPE_CHECKING:
    from redpoll.control.service import Control

BACKLOG = 1000  # Decisions a slow reader may be behind before it is cut off
HEARTBEAT_S = 5.0
PAGE_S = 1.0
STREAMS_MAX = 200  # open at the same time
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Hub:
    """Hands every Decision to all who listen, and wakes pages when something was decided."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.closed = False
        self._queues: set[asyncio.Queue[DecisionView | None]] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._streams = 0
        self._made: dict[Hashable, tuple[float, dict[str, Any]]] = {}

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
            self._made.clear()
            self._changed.set()
            self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> None:
        """Return at the next Decision, at closing, or after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def once(self, key: Hashable, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``make`` answers, made once for all who look at the same page at the same time.

        Rendering shares the loop with deciding: fifty open pages must not cost fifty times as much.
        """
        now_s = asyncio.get_running_loop().time()
        found = self._made.get(key)
        if found is None or now_s - found[0] > PAGE_S / 2:
            self._made = {k: v for k, v in self._made.items() if now_s - v[0] <= PAGE_S}
            self._made[key] = found = (now_s, make())
        return found[1]

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count one open stream."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def check_room(self) -> None:
        """RP-108 where too many streams are open already."""
        if self._streams >= STREAMS_MAX:
            raise RedpollError(
                "RP-108",
                f"{STREAMS_MAX} event streams are open already; close some pages or readers; "
                "pages work without.",
                retry_after_s=5,
            )

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
    hub.check_room()

    async def body() -> AsyncIterator[bytes]:
        with hub.stream():
            yield b"retry: 1000\n: connected\n\n"
            async for decision in hub.decisions(after):
                if decision is None:
                    yield b": still here\n\n"
                else:
                    raw = msgspec.json.encode(decision)
                    yield frame(raw, event="decision", event_id=decision.decision_id)

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)


def page_stream(hub: Hub, key: Hashable, render: Callable[[], dict[str, Any]]) -> StreamingResponse:
    """A page's parts, at once and then each that changed, once a second and at every Decision.

    ``render`` answers ``{"parts": {name: html}, …}``; the rest is sent each time. Pages with the
    same ``key`` are rendered once.
    """
    hub.check_room()

    async def body() -> AsyncIterator[bytes]:
        with hub.stream():
            yield b"retry: 1000\n\n"
            sent: dict[str, str] = {}
            while not hub.closed:
                page = hub.once(key, render)
                parts = {n: html for n, html in page["parts"].items() if sent.get(n) != html}
                sent.update(parts)
                yield frame(msgspec.json.encode({**page, "parts": parts}))
                await hub.changed(PAGE_S)

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)
