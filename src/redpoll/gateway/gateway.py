"""The gateway: takes calls in, draws, journals, asks, journals, replies."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic_ns, time_ns

from redpoll.backends.link import Link
from redpoll.backends.pool import receive
from redpoll.backends.port import Failure
from redpoll.capture import TEXT
from redpoll.catalog import Limits
from redpoll.errors import CATALOG, RedpollError, closest
from redpoll.facts import Answer, Request
from redpoll.gateway import replies, wires
from redpoll.gateway.asking import Asking
from redpoll.gateway.call import (
    ANSWERED,
    DONE,
    FLYING,
    OIP,
    WAITING,
    Answered,
    Arrived,
    Call,
    Client,
    Head,
)
from redpoll.gateway.choice import NO_TABLE, decide, named, starting
from redpoll.gateway.deadlines import Deadlines
from redpoll.gateway.express import Express
from redpoll.gateway.lanes import Lane, Served, Tally
from redpoll.gateway.outcomes import RowCounts
from redpoll.gateway.reading import encode_rows, name, overload, read, read_oip
from redpoll.gateway.recorder import Recorder
from redpoll.gateway.replies import Verdict
from redpoll.gateway.second_look import SecondLooks
from redpoll.host.counters import Counters
from redpoll.host.tick import Inbox, Tick
from redpoll.ids import IdMaker
from redpoll.journal.port import Writer

log = logging.getLogger("redpoll.gateway")
REFUSED_VERSION = ""


class Gateway:
    """All models of one process. Callbacks on one event loop; nothing here awaits."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: Writer,
        counters: Counters,
        limits: Limits,
        *,
        serve_unjournalled: bool = False,
    ) -> None:
        self.loop = loop
        self.counters = counters
        self.limits = limits
        self.models = NO_TABLE
        self.taken = 0
        self.draining = False
        self.taken_max = limits.in_flight + limits.queue
        self.row_counts = RowCounts()
        self.tick = Tick(loop)
        self.tick.under_way = lambda: self.taken
        self.asking = Asking(self)
        self.recorder = Recorder(
            loop,
            self.tick,
            writer,
            counters,
            self.asking.launch,
            self._unjournalled,
            serve_unjournalled,
        )
        self.drained = asyncio.Event()
        self.tallies: dict[str, Tally] = {}
        self.ids = IdMaker()
        self.deadlines = Deadlines(loop, self.tick.drain, self._expired)
        self._looks = SecondLooks(self)
        express = Express(self)
        # What links read, and so what was answered; then what arrived.
        self.links: Inbox[tuple[Link, bytes]] = Inbox(self.tick, receive)
        self.answered: Inbox[Answered] = Inbox(self.tick, express.answer)
        self.arrivals: Inbox[Arrived] = Inbox(self.tick, express.begin)
        self.tick.inboxes += (self.links, self.answered, self.arrivals)

    def tally(self, model: str) -> Tally:
        """The counts of a model, which outlive changes of its route."""
        return self.tallies.setdefault(model, Tally())

    @property
    def flying(self) -> int:
        """How many calls a backend is working on."""
        return sum(tally.flying for tally in self.tallies.values())

    @property
    def waiting(self) -> int:
        """How many calls wait for a backend."""
        return self.asking.waiting

    def well(self) -> RedpollError | None:
        """Why this gateway takes no calls now; None: it does."""
        if self.draining:
            return RedpollError(
                "RP-110", "The server is shutting down; send the request again in a moment."
            )
        return self.recorder.error

    def take(self, client: Client, head: Head, body: bytes) -> None:
        """Take in what a client sent. Its call's reply goes to ``client.answered``, once."""
        if head.ticket is not None:
            self.arrivals.note((client, head, body))
        else:
            self.take_alone(client, head, body)

    def take_alone(self, client: Client, head: Head, body: bytes) -> None:
        """Take it in at once, whatever it is like."""
        client.call = call = Call(client, head, body, monotonic_ns())
        try:
            self.begin(call)
        except Exception:
            log.exception("a request could not be taken in")
            error = RedpollError(
                "RP-600", "redpoll made a mistake with this request; its log says more."
            )
            self.turn_away(call, error, "_")

    def begin(self, call: Call) -> None:
        """Read, decide, journal; its backend is asked when that is flushed."""
        served = self.models.get(call.model)
        if served is None and not call.model and len(self.models) == 1:
            served = next(iter(self.models.values()))  # the only one need not be named
        if served is None:
            self.turn_away(call, starting(self.models) or _unknown(call.model, self.models), "_")
            return
        call.served = served
        if self.recorder.error is not None or self.draining:
            self.turn_away(call, self.well() or overload(call.model), served.name)
            return
        call.pid = self.ids.make(served.number, time_ns() // 1000)
        tally = served.tally
        try:
            if tally.taken >= served.taken_max or self.taken >= self.taken_max:
                raise overload(served.name)
            ticket = call.head.ticket
            if ticket is not None and ticket.served is served:
                read_oip(call, served)
            if ticket is None or ticket.served is not served or call.rows == 0:
                if call.version is not None:  # what cannot answer is said before what is wrong
                    named(call.version, served)
                read(call, served)
                ticket = decide(call, served)
            lane = call.lane = ticket.lane
            call.arm = ticket.arm
            if call.wire != OIP:
                call.payload = encode_rows(call, served, lane.worker)
            elif not lane.worker and (call.head.binary >= 0 or not call.has_id):
                wires.outgoing(call, lane)
        except RedpollError as error:
            self.reject(call, error)
            return
        request = Request(call.prediction_id, call.request_id, call.rows, *ticket.facts)
        raw_format = ticket.raw_format
        body = call.body if raw_format else b""
        if served.keeping is not None:
            request, body, raw_format = served.keeping.request(call, request, body, raw_format)
        if call.rows == 0:
            noted = self.recorder.note(call, served.name, request, body, raw_format)
        else:
            noted = self.recorder.ask(call, served.name, request, body, raw_format)
        if not noted:
            self.turn_away(call, self.recorder.error or overload(call.model), served.name)
            return
        self.taken += 1
        tally.taken += 1
        if call.rows != 1:
            self.row_counts.note(served.name, call.prediction_id, call.request_id, call.rows)
            if call.rows == 0:
                self._answer_nothing(call, lane)
                return
        self.deadlines.add(call, ticket.timeout_ms)

    def leave(self, call: Call) -> None:
        """The client left before its reply: free the call's place at once."""
        if call.state not in (DONE, ANSWERED):
            if call.state == FLYING:
                call.lane.backend.cancel(call)
            self._settle(call, Verdict("abandoned"), heard=False)

    def on_answer(self, call: Call, status: int, lines: bytes, body: bytes) -> None:
        """A backend answered."""
        call.state = FLYING
        lane = call.lane
        try:
            verdict = replies.judge(call, lane, status, body, lines)
            replies.reply(call, lane, status, lines, body, verdict)
        except Exception:
            self.broke(call)
            return
        self._settle(call, verdict)

    def on_failure(self, call: Call, failure: Failure) -> None:
        """A backend failed."""
        call.refuse(RedpollError(failure.code, failure.message))
        call.reply_lines += call.lane.version_lines
        status = "invalid" if failure.code == "RP-201" else "error"
        self._settle(call, Verdict(status, failure.code, failure.message.encode(), TEXT))

    def overloaded(self, call: Call) -> None:
        """No room, and nowhere to wait for some."""
        error = overload(call.served.name)
        call.refuse(error)
        self._count_refused(call.served.name, error)
        self._settle(call, Verdict("refused", error.code))

    def _settle(self, call: Call, verdict: Verdict, heard: bool = True) -> None:
        """The call ends: journal its answer, count it, reply, let the next one start."""
        state, call.state = call.state, DONE
        served, lane = call.served, call.lane
        tally = served.tally
        now_ns = monotonic_ns()
        took_ns = now_ns - call.arrived_ns
        if served.keeping is not None:
            verdict = served.keeping.answer(call, verdict)
        status = verdict.status
        if state == FLYING:
            lane.flying -= 1
            lane.duration.observe((now_ns - call.sent_ns) * 1e-9)
            lane.answers[status].value += 1
        elif state == WAITING:
            self.asking.waiting -= 1
            tally.waiting -= 1
            lane.waiting.pop(call, None)
            call.queue_us = took_ns // 1000
        self.taken -= 1
        tally.taken -= 1
        self.deadlines.remove(call)
        answer = Answer(
            call.prediction_id,
            lane.version,
            "live",
            status,
            verdict.code,
            took_ns // 1000,
            call.queue_us,
            call.attempts,
            "model",
            verdict.outputs,
        )
        self.recorder.answer(call, served.name, answer, verdict.raw, verdict.raw_format)
        if heard:
            self.recorder.reply(call)
        arm = call.arm
        lane.requests[arm][status].value += 1
        served.durations[arm].observe(took_ns * 1e-9)
        if arm == "candidate" and status != "ok":
            self._looks.consider(call, status)
        if self.asking.thirsty:
            self.asking.pump()
        if self.draining and self.taken == 0:
            self.drained.set()

    def _expired(self, call: Call) -> None:
        if call.state == ANSWERED:
            return
        if call.state == FLYING:
            call.lane.backend.cancel(call)
        call.refuse(
            RedpollError(
                "RP-109",
                f"No answer came within {call.patience} ms; {call.lane.version} is slow or stuck. "
                "Send the request again later, or raise timeout_ms (redpoll-deadline-ms).",
            )
        )
        call.reply_lines += call.lane.version_lines
        self._settle(call, Verdict("timeout", "RP-109"))

    def _answer_nothing(self, call: Call, lane: Lane) -> None:
        """Zero rows: the model is not asked."""
        try:
            verdict = replies.empty(call, lane)
            replies.reply(call, lane, 200, replies.JSON, verdict.raw, verdict)
        except Exception:
            self.broke(call)
            return
        self._settle(call, verdict)

    def broke(self, call: Call) -> None:
        """A mistake of our own: to be called where it is caught. The call still has its end."""
        log.exception("a request could not be served", extra={"request_id": call.request_id})
        error = RedpollError(
            "RP-600", "redpoll made a mistake with this request; its log says more."
        )
        call.refuse(error)
        self._settle(call, Verdict("error", error.code))

    def reject(self, call: Call, error: RedpollError) -> None:
        """Refused before the draw counted: arm ``none``, in the journal without its body."""
        served = call.served
        name(call, None)
        call.refuse(error)
        text, text_format = replies.refusal_text(call, error)
        request = Request(
            call.prediction_id,
            call.request_id,
            0,
            call.unit,
            call.head.subject,
            call.head.groups,
            route_generation=served.generation,
            version_requested=call.version,
            capture="none",
            trace_id=call.head.trace_id,
        )
        took_us = (monotonic_ns() - call.arrived_ns) // 1000
        answer = Answer(
            call.prediction_id, REFUSED_VERSION, "live", "refused", error.code, took_us, attempts=0
        )
        call.state = DONE
        self.recorder.note(call, served.name, request, b"", 0)
        self.recorder.answer(call, served.name, answer, text, text_format)
        self._count_refused(served.name, error)
        self.counters.inc("redpoll_requests_total", (served.name, "_", "none", "refused"))
        self.recorder.reply(call)

    def turn_away(self, call: Call, error: RedpollError, model: str) -> None:
        """No model of ours, or no journal to note it in: a reply and a count, no facts."""
        call.state = DONE
        call.pid, call.own_id = b"", call.head.request_id
        call.refuse(error)
        self._count_refused(model, error)
        call.client.answered(call)

    def _count_refused(self, model: str, error: RedpollError) -> None:
        self.counters.inc("redpoll_refused_total", (model, CATALOG[error.code].name))

    def _unjournalled(self, asks: list[Call], told: list[Call], error: RedpollError) -> None:
        """The disk refused this tick: nothing is sent that the journal does not have."""
        for call in asks:
            if call.state != DONE:
                self._settle(call, Verdict("refused", error.code), heard=False)
                told.append(call)
        for call in told:
            call.pid, call.own_id = b"", call.request_id
            call.refuse(error)
            try:
                call.client.answered(call)
            except Exception:
                log.exception("a refusal could not be sent", extra={"request_id": call.request_id})


def _unknown(model: str, known: dict[str, Served]) -> RedpollError:
    if not model:
        listed = ", ".join(list(known)[:5])
        return RedpollError(
            "RP-102", f"There are {len(known)} models ({listed}); name one in the path."
        )
    hint = closest(model, known) or " `redpoll status` lists the models."
    return RedpollError("RP-102", f"There is no model {model[:80]!r}.{hint}")
