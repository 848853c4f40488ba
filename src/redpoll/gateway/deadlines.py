"""Deadlines of calls: coarse, cheap, in the order in which they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from redpoll.gateway.call import Call

TICK_S = 0.004


class Deadlines:
    """Calls with the same time-out end in the order of their arrival: one queue for each time-out.

    ``before`` is called before it is looked who is late: answers may lie there, read in time.
    Adding and taking away cost a dict operation, where a timer of its own would cost a microsecond.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        before: Callable[[], None],
        expired: Callable[[Call], None],
    ) -> None:
        self._loop = loop
        self._before = before
        self._expired = expired
        self.queues: dict[int, dict[Call, None]] = {}
        self._ticking = False

    def add(self, call: Call, timeout_ms: int) -> None:
        """Call ``expired(call)`` that long after its arrival, give or take 4 ms."""
        call.patience = timeout_ms
        call.queue = queue = self.queue(timeout_ms)
        queue[call] = None

    def queue(self, timeout_ms: int) -> dict[Call, None]:
        """The queue of a time-out, for who adds by hand: a call belongs in it at once."""
        queue = self.queues.get(timeout_ms)
        if queue is None:
            queue = self.queues[timeout_ms] = {}
            if not self._ticking:
                self._ticking = True
                self._loop.call_later(TICK_S, self._tick)
        return queue

    def remove(self, call: Call) -> None:
        """It has ended otherwise."""
        call.queue.pop(call, None)

    def expire_all(self) -> None:
        """As if every deadline had passed."""
        for call in [call for queue in self.queues.values() for call in queue]:
            self.remove(call)
            self._expired(call)

    def _tick(self) -> None:
        self._before()
        now = time.monotonic_ns()
        expired: list[Call] = []
        for timeout_ms in list(self.queues):
            queue = self.queues[timeout_ms]
            begun_ns = now - timeout_ms * 1_000_000
            for call in queue:
                if call.arrived_ns > begun_ns:
                    break
                expired.append(call)
            if not queue:
                del self.queues[timeout_ms]
        for call in expired:
            self.remove(call)
            self._expired(call)
        self._ticking = bool(self.queues)
        if self._ticking:
            self._loop.call_later(TICK_S, self._tick)
