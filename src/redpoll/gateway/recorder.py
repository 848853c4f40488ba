"""One write a loop tick: what happened is journalled first, then asks and replies may leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redpoll.errors import RedpollError
from redpoll.facts import LOST, NO_MODEL, Answer, Fact, Outcome, Request, Sample
from redpoll.gateway.call import Call
from redpoll.host.counters import Cell, Counters
from redpoll.host.tick import Tick
from redpoll.journal.port import Encoded, Writer

log = logging.getLogger("redpoll.gateway")
RETRY_S = 0.25


class Recorder:
    """Collects a tick's facts, asks and replies; asks and replies are released behind one flush.

    Whatever goes wrong with one of them (a transport that has closed) costs no other its turn.
    ``ask`` is called with the calls that may be asked now; ``refused`` with what the disk refused
    to note. ``error`` is why no requests are taken now: the journal cannot be written.

    ``serve``: then requests are answered all the same. Who is not in the journal with the request
    is not there with the answer either, every loss is counted, and a ``Sample`` says how many there
    were once the disk takes facts again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tick: Tick,
        writer: Writer,
        counters: Counters,
        ask: Callable[[list[Call]], None],
        refused: Callable[[list[Call], list[Call], RedpollError], None],
        serve: bool = False,
    ) -> None:
        self.error: RedpollError | None = None
        self.serve = serve
        self.quiet = True  # nothing was flushed since somebody last looked
        self.tick = tick
        tick.release = self._release
        self._loop = loop
        self._writer = writer
        self._append = writer.append
        self._ask = ask
        self._refused = refused
        self.asks: list[Call] = []  # to be asked once that is in the journal
        self.replies: list[Call] = []  # to be told then
        self._failing = False  # the disk refused the last flush
        self._lost: dict[str, int] = {}  # since the disk took facts, by their name
        self._counters = counters
        self._facts: dict[type[Fact], Cell] = {
            kind: counters.cell("redpoll_journal_facts_total", (kind.__name__.lower(),))
            for kind in (Request, Answer, Outcome)
        }

    def ask_all(self, calls: list[Call], facts: list[Encoded]) -> bool:
        """The same as :meth:`ask` for many, whose facts are encoded. False where that fails."""
        try:
            self._writer.extend(facts)
            self._facts[Request].value += len(facts)
        except RedpollError as error:
            if not self.serve:
                self._fails(error)
                return False
            for call in calls:
                self._lose(Request, error)
                call.noted = False
        self.asks += calls
        return True

    def answer_all(self, calls: list[Call], facts: list[Encoded]) -> None:
        """Journal encoded answers (of those whose request was), and send all these replies."""
        try:
            self._writer.extend(facts)
            self._facts[Answer].value += len(facts)
        except RedpollError as error:
            for _ in facts:
                self._lose(Answer, error)
        self.replies += calls

    def ask(self, call: Call, model: str, fact: Request, raw: bytes, raw_format: int) -> bool:
        """Journal a request and ask its backend once that is done. False where that fails."""
        try:
            self._append(model, fact, raw, raw_format)
            self._facts[Request].value += 1
        except RedpollError as error:
            if not self.serve:  # it is refused, so nothing is lost
                self._fails(error)
                return False
            self._lose(Request, error)
            call.noted = False
        self.asks.append(call)
        if not self.tick.scheduled:
            self.tick.schedule()
        return True

    def note(self, call: Call, model: str, fact: Request, raw: bytes, raw_format: int) -> bool:
        """Journal a request that no backend is asked about. False where that fails."""
        call.noted = self.fact(model, fact, raw, raw_format)
        return call.noted or self.serve

    def answer(self, call: Call, model: str, fact: Answer, raw: bytes, raw_format: int) -> None:
        """Journal an answer, where its request was."""
        if not call.noted:
            self.count_lost(Answer)
            return
        try:
            self._append(model, fact, raw, raw_format)
            self._facts[Answer].value += 1
        except RedpollError as error:
            self._lose(Answer, error)
            return
        if not self.tick.scheduled:
            self.tick.schedule()

    def reply(self, call: Call) -> None:
        """Send this call's reply once the journal has what was noted in this tick."""
        self.replies.append(call)
        if not self.tick.scheduled:
            self.tick.schedule()

    def fact(self, model: str, fact: Fact, raw: bytes = b"", raw_format: int = 0) -> bool:
        """Journal a fact that nobody waits for. False where that fails.

        It is counted as lost then; but an outcome is not, since its sender is told to send it again.
        """
        try:
            self._append(model, fact, raw, raw_format)
        except RedpollError as error:
            if type(fact) is Outcome:
                self._fails(error)
            else:
                self._lose(type(fact), error)
            return False
        self._facts[type(fact)].value += 1
        if not self.tick.scheduled:
            self.tick.schedule()
        return True

    def beat(self) -> None:
        """Say that the stream is complete up to now."""
        if not self._failing:
            self._writer.beat()
            try:
                self._writer.flush()
            except RedpollError as error:
                self._fails(error)

    def _release(self) -> None:
        asks, replies = self.asks, self.replies
        self.asks, self.replies = [], []
        try:
            if not (self._failing and self.serve):  # else a timer tries, not every tick
                self._writer.flush()
        except RedpollError as error:
            self._fails(error)
            if not self.serve:
                self._refused(asks, replies, error)
                return
        self.quiet = False
        for call in replies:
            try:
                call.client.answered(call)
            except Exception:
                log.exception("a reply could not be sent", extra={"request_id": call.request_id})
        if asks:
            self._ask(asks)

    def _lose(self, kind: type[Fact], error: RedpollError) -> None:
        self.count_lost(kind)
        self._fails(error)

    def count_lost(self, kind: type[Fact]) -> None:
        """One of that kind is not in the journal: its request is not, or the disk refused it."""
        name = kind.__name__.lower()
        self._counters.inc("redpoll_journal_lost_total", (name, "disk"))
        self._lost[name] = self._lost.get(name, 0) + 1

    def _fails(self, error: RedpollError) -> None:
        if not self._failing:
            meanwhile = "answered all the same, and what is lost is counted"
            log.error(
                "%s; requests are %s until it can be written again",
                error,
                meanwhile if self.serve else "refused",
            )
            self._loop.call_later(RETRY_S, self._retry)
        self._failing = True
        self.error = None if self.serve else error

    def _retry(self) -> None:
        try:
            self._writer.flush()
            self._say_lost()
        except RedpollError:
            self._loop.call_later(RETRY_S, self._retry)
            return
        self.error = None
        self._failing = False
        log.warning("the journal can be written again")

    def _say_lost(self) -> None:
        """In the journal itself: whoever reads it later must know what it lacks."""
        lost = sum(self._lost.values())
        for name, count in self._lost.items():
            self._append(NO_MODEL, Sample(LOST, {"fact": name, "reason": "disk"}, float(count)))
        self._lost.clear()
        self._writer.flush()
        if lost:
            log.error("%d facts were lost while the journal could not be written", lost)
