"""One write a loop tick: what happened is journalled first, then asks and replies may leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redpoll.errors import RedpollError
from redpoll.facts import Answer, Fact, Outcome, Request
from redpoll.gateway.call import Call
from redpoll.host.counters import Cell, Counters
from redpoll.journal.port import Writer

log = logging.getLogger("redpoll.gateway")
RETRY_S = 0.25


class Recorder:
    """Collects a tick's facts, asks and replies; asks and replies are released behind one flush.

    Whatever goes wrong with one of them (a transport that has closed) costs no other its turn.
    ``ask`` is called for each call that may be asked now; ``refused`` with what the disk refused
    to note. ``error`` is why the journal cannot be written now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: Writer,
        counters: Counters,
        ask: Callable[[Call], None],
        refused: Callable[[list[Call], list[Call], RedpollError], None],
    ) -> None:
        self.error: RedpollError | None = None
        self.quiet = True  # nothing was flushed since somebody last looked
        self._loop = loop
        self._writer = writer
        self._append = writer.append
        self._ask = ask
        self._refused = refused
        self._asks: list[Call] = []
        self._replies: list[Call] = []
        self._scheduled = False
        self._counters = counters
        self._facts: dict[type[Fact], Cell] = {
            kind: counters.cell("redpoll_journal_facts_total", (kind.__name__.lower(),))
            for kind in (Request, Answer, Outcome)
        }

    def ask(self, call: Call, model: str, fact: Request, raw: bytes, raw_format: int) -> bool:
        """Journal a request and ask its backend once that is done. False where that fails."""
        try:
            self._append(model, fact, raw, raw_format)
        except RedpollError as error:
            self._lose(fact, error)
            return False
        self._facts[Request].value += 1
        self._asks.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._release)
        return True

    def answer(self, call: Call, model: str, fact: Answer, raw: bytes, raw_format: int) -> None:
        """Journal an answer and send the call's reply once that is done."""
        try:
            self._append(model, fact, raw, raw_format)
            self._facts[Answer].value += 1
        except RedpollError as error:
            self._lose(fact, error)
        self.reply(call)

    def reply(self, call: Call) -> None:
        """Send this call's reply once the journal has what was noted in this tick."""
        self._replies.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._release)

    def fact(self, model: str, fact: Fact, raw: bytes = b"", raw_format: int = 0) -> bool:
        """Journal a fact that nobody waits for. False, and counted as lost, where that fails."""
        try:
            self._append(model, fact, raw, raw_format)
        except RedpollError as error:
            self._lose(fact, error)
            return False
        self._facts[type(fact)].value += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._release)
        return True

    def beat(self) -> None:
        """Say that the stream is complete up to now."""
        if self.error is None:
            self._writer.beat()
            try:
                self._writer.flush()
            except RedpollError as error:
                self._fails(error)

    def _release(self) -> None:
        asks, replies = self._asks, self._replies
        self._asks, self._replies = [], []
        self._scheduled = False
        try:
            self._writer.flush()
        except RedpollError as error:
            self._fails(error)
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

    def _lose(self, fact: Fact, error: RedpollError) -> None:
        name = type(fact).__name__.lower()
        self._counters.inc("redpoll_journal_lost_total", (name, "disk"))
        self._fails(error)

    def _fails(self, error: RedpollError) -> None:
        if self.error is None:
            log.error("%s; requests are refused until it can be written again", error)
            self._loop.call_later(RETRY_S, self._retry)
        self.error = error

    def _retry(self) -> None:
        try:
            self._writer.flush()
        except RedpollError:
            self._loop.call_later(RETRY_S, self._retry)
            return
        self.error = None
        log.warning("the journal can be written again")
