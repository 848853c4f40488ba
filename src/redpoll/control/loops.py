"""What control does by itself: follow the journal, ask remote backends, save its numbers."""

from __future__ import annotations

import asyncio
import logging

from redpoll.control.engine import Engine
from redpoll.control.meters import Meters
from redpoll.control.system import System
from redpoll.errors import RedpollError

POLL_S = 0.05
PROBE_S = 0.25

_log = logging.getLogger("redpoll.control")


class Loops:
    """The tasks of a running controller, on the loop that started them."""

    def __init__(self, engine: Engine, meters: Meters, system: System) -> None:
        self._engine = engine
        self._system = system
        self._meters = meters
        self._tasks = [
            asyncio.create_task(one) for one in (self._follow(), self._probe(), self._seconds())
        ]

    async def stop(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        engine = self._engine
        while True:
            more = False
            try:
                more = engine.tick()
                engine.trouble = ""
            except Exception as error:
                known = isinstance(error, RedpollError | OSError)
                if str(error) != engine.trouble:  # twenty times a second: saying it once will do
                    _log.error("control's loop: %s", error, exc_info=not known)
                engine.trouble = str(error) or type(error).__name__
            await asyncio.sleep(0 if more else POLL_S)

    async def _probe(self) -> None:
        while True:
            await self._engine.health.probe(self._engine.models())
            await asyncio.sleep(PROBE_S)

    async def _seconds(self) -> None:
        while True:
            try:
                self._engine.signals.refresh()
                self._meters.save()
                self._system.look()
                if not self._engine.data.routes.exists():
                    self._engine.publish(again=True)
            except OSError as error:
                _log.error("metrics or routes could not be written: %s", error)
            await asyncio.sleep(1.0)
