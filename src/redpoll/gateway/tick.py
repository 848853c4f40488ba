"""One write a loop tick: what happened is journalled first, then asks and replies may leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redpoll.errors import RedpollError
from redpoll.gateway.call import Call
from redpoll.journal.port import Writer

log = logging.getLogger("redpoll.gateway")


class Tick:
    """Collects a tick's asks and replies and releases them behind one flush of the journal.

    Whatever goes wrong with one of them (a transport that has closed) costs no other its turn.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: Writer,
        ask: Callable[[Call], None],
        refused: Callable[[list[Call], list[Call], RedpollError], None],
    ) -> None:
        self.quiet = True  # nothing was written since somebody last looked
        self._loop = loop
        self._writer = writer
        self._ask = ask
        self._refused = refused
        self._asks: list[Call] = []
        self._replies: list[Call] = []
        self._scheduled = False

    def ask(self, call: Call) -> None:
        """Ask this call's backend once the journal has it."""
        self._asks.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._release)

    def reply(self, call: Call) -> None:
        """Send this call's reply once the journal has it."""
        self._replies.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._release)

    def write(self) -> None:
        """Flush with the tick, though nobody waits for it."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        asks, replies = self._asks, self._replies
        self._asks, self._replies = [], []
        self._scheduled = False
        try:
            self._writer.flush()
        except RedpollError as error:
            self._refused(asks, replies, error)
            return
        self.quiet = False
        for call in replies:
            try:
                call.client.answered(call)
            except Exception:
                log.exception("a reply could not be sent", extra={"request_id": call.request_id})
        for call in asks:
            try:
                self._ask(call)
            except Exception:
                log.exception("an ask failed", extra={"request_id": call.request_id})
