"""Requests/s of each model over the last hour, for the small lines on *Now*.

Kept in memory only: after a start the line begins anew, and is not drawn until it has two points.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from redpoll.control.service import Control

EVERY_S = 10.0
SAMPLES = 60  # points of a line; each is the mean of what was asked meanwhile
HOUR_S = 3600.0


class Recent:
    """Asks control every ten seconds; one point a minute is kept, for an hour."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.history: dict[str, deque[float]] = {}
        self._minute: dict[str, list[float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.get_running_loop().create_task(self._ask())

    def close(self) -> None:
        """Stop asking."""
        if self._task:
            self._task.cancel()

    async def _ask(self) -> None:
        while True:
            with contextlib.suppress(RedpollError):
                overview = self.control.overview()
                self.add({m.name: m.requests_per_second for m in overview.models})
            await asyncio.sleep(EVERY_S)

    def add(self, rates: dict[str, float]) -> None:
        """Take in requests/s of each model, now."""
        each = round(HOUR_S / SAMPLES / EVERY_S)
        for name, rate in rates.items():
            kept = self.history.setdefault(name, deque(maxlen=SAMPLES))
            minute = self._minute.setdefault(name, [])
            minute.append(rate)
            if len(minute) >= each:
                kept.append(sum(minute) / len(minute))
                minute.clear()
        for gone in self.history.keys() - rates.keys():
            del self.history[gone]
            self._minute.pop(gone, None)
