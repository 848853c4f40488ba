"""Deadlines of calls: coarse, cheap, in the order in which they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from redpoll.gateway.call import Call

TICK_S = 0.004


class Deadlines:
    """Calls with the same time-out end in the order of their arrival: one queue for each time-out.

    Adding and taking away cost a dict operation, where a timer of its own would cost a microsecond.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[Call], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._queues: dict[int, dict[Call, None]] = {}
        self._ticking = False

    def add(self, call: Call, timeout_ms: int) -> None:
        """Call ``expired(call)`` that long after its arrival, give or take 4 ms."""
        call.patience = timeout_ms
        call.deadline_ns = call.arrived_ns + timeout_ms * 1_000_000
        queue = self._queues.get(timeout_ms)
        if queue is None:
            queue = self._queues[timeout_ms] = {}
        queue[call] = None
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_S, self._tick)

    def remove(self, call: Call) -> None:
        """It has ended otherwise."""
        queue = self._queues.get(call.patience)
        if queue is not None:
            queue.pop(call, None)

    def expire_all(self) -> None:
        """As if every deadline had passed."""
        for call in [call for queue in self._queues.values() for call in queue]:
            self.remove(call)
            self._expired(call)

    def _tick(self) -> None:
        now = time.monotonic_ns()
        expired: list[Call] = []
        for timeout_ms in list(self._queues):
            queue = self._queues[timeout_ms]
            for call in queue:
                if call.deadline_ns > now:
                    break
                expired.append(call)
            if not queue:
                del self._queues[timeout_ms]
        for call in expired:
            self.remove(call)
            self._expired(call)
        self._ticking = bool(self._queues)
        if self._ticking:
            self._loop.call_later(TICK_S, self._tick)
