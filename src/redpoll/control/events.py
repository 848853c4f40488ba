"""Every Decision as it takes effect, to whoever listens; a slow listener loses the oldest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from redpoll.views import DecisionView

QUEUED = 1000  # Decisions a listener may be behind


class Events:
    """Hands each Decision to every listener."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[DecisionView | None]] = set()

    def tell(self, decision: DecisionView | None) -> None:
        """Tell everybody; None ends every stream."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(decision)

    async def stream(self) -> AsyncIterator[DecisionView]:
        """Every Decision from now on."""
        queue: asyncio.Queue[DecisionView | None] = asyncio.Queue(QUEUED)
        self._queues.add(queue)
        try:
            while (decision := await queue.get()) is not None:
                yield decision
        finally:
            self._queues.discard(queue)
