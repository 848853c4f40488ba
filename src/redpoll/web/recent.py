"""Requests/s of each model over the last hour, for the small lines on *Now*.

Kept in memory only: after a start the line begins anew, and is not drawn until it has two points.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from redpoll.control.service import Control

EVERY_S = 5.0
KEPT = 720  # an hour
POINTS = 60  # of a line; more would not be seen


class Recent:
    """Asks control every five seconds and keeps an hour of answers."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._kept: dict[str, deque[float]] = {}
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

    def add(self, rates: Mapping[str, float]) -> None:
        """Take in requests/s of each model, now; models that are gone are forgotten."""
        for gone in self._kept.keys() - rates.keys():
            del self._kept[gone]
        for name, rate in rates.items():
            self._kept.setdefault(name, deque(maxlen=KEPT)).append(rate)

    def line(self, model: str) -> list[float]:
        """At most ``POINTS`` values, oldest first, each the mean of its stretch."""
        values = list(self._kept.get(model, ()))
        size = math.ceil(len(values) / POINTS) or 1
        return [
            sum(values[i : i + size]) / len(values[i : i + size])
            for i in range(0, len(values), size)
        ]
