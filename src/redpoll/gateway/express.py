"""The express lane: what a tick brought, taken in one go where the way of each call is known.

A request is express where an equal head was decided before (its ticket), and an answer where it is
a plain one that is passed on as it is. Everything else goes call by call through the gateway, and
both give the same facts, byte by byte, the same asks and the same replies.

Every line here runs for every request: names are bound outside the loops, and nothing is called
that can be written out.
"""

from __future__ import annotations

from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

from redpoll.facts import Answer
from redpoll.gateway import wires
from redpoll.gateway.call import DONE, OIP, Answered, Arrived, Call
from redpoll.gateway.lanes import Lane, Served
from redpoll.gateway.reading import overload, read_oip
from redpoll.gateway.replies import HEAD_BYTES, skim
from redpoll.journal.frames import encode_fact as _encode
from redpoll.journal.port import Encoded

if TYPE_CHECKING:
    from redpoll.gateway.choice import Ticket
    from redpoll.gateway.gateway import Gateway

# How a fact begins: an array of its fields, and the head of a string of 36 bytes.
_REQUEST = b"\xdc\x00\x12\xd9\x24"
_ANSWER = b"\x9c\xd9\x24"
_ID = b"\xd9\x24"
_ONE = b"\x01"
_LATE_MAX = 256
_OK_END = b"".join(map(_encode, ("model", None, "{}", None)))


class _Otherwise(Exception):
    """Not for the express lane."""


def _read(call: Call, served: Served, lane: Lane) -> bytes:
    """What is not known by the form that came last: read it. Its id, as the journal has it."""
    read_oip(call, served)
    if call.rows == 0:
        raise _Otherwise
    if not call.has_id and not lane.worker:
        wires.outgoing(call, lane)
    return _ID + call.pid if call.own_id is None else _encode(call.own_id)


class Express:
    """Calls of one tick."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._late = 0  # answers that were not counted yet, about

    def begin(self, arrivals: list[Arrived]) -> None:
        """Take in requests whose heads have a ticket."""
        gateway = self._gateway
        well = gateway.recorder.error is None and not gateway.draining
        arrived_ns, ids, patience = gateway.tick.began_ns, gateway.ids, -1
        ends = ids.ends(len(arrivals))
        begun: list[Call] = []
        facts: list[Encoded] = []
        last: Served | None = None  # the model of the call before, and what is the same for it
        for client, head, body in arrivals:
            try:
                ticket: Ticket = head.ticket  # type: ignore[assignment]
                served = ticket.served
                if served is not last:
                    last, tally, forms = served, served.tally, served.forms
                    current = well and gateway.models.get(head.model) is served
                    room = min(served.taken_max - tally.taken, gateway.taken_max - gateway.taken)
                    start = ids.start(served.number, time_ns() // 1000)
                if room <= 0 or not current:
                    raise _Otherwise
                lane = ticket.lane
                call = Call(client, head, body, arrived_ns)
                call.pid = pid = start + ends.pop()
                form = forms.first
                if form.match(body) is not None and not head.request_id:
                    call.rows = rows = form.rows
                    if form.wanted is not None:
                        call.wanted = form.wanted
                    request_id = _ID + pid
                    if not lane.worker:
                        call.payload = b'{"id":"%b",%b' % (pid, body[1:])
                else:
                    request_id = _read(call, served, lane)
                    rows = call.rows
                if rows != 1:
                    gateway.row_counts.note(served.name, call.prediction_id, call.request_id, rows)
                    fact = _REQUEST + pid + request_id + _encode(rows) + ticket.tail
                else:
                    fact = _REQUEST + pid + request_id + _ONE + ticket.tail
                if ticket.timeout_ms != patience:
                    patience = ticket.timeout_ms
                    queue = gateway.deadlines.queue(patience)
            except Exception:
                last, patience = None, -1
                gateway.take_alone(client, head, body)
                ends = ids.ends(len(arrivals))
                continue
            call.served = served
            call.lane = lane
            call.arm = ticket.arm
            call.patience = patience
            call.queue = queue
            queue[call] = None
            client.call = call
            facts.append((ticket.label, fact, body))
            begun.append(call)
            room -= 1
            tally.taken += 1
            gateway.taken += 1
        if not gateway.recorder.ask_all(begun, facts):
            self._give_back(begun)

    def _give_back(self, calls: list[Call]) -> None:
        """The journal takes none of these: they are refused as if they had never been taken in."""
        gateway = self._gateway
        for call in calls:
            gateway.taken -= 1
            call.served.tally.taken -= 1
            gateway.deadlines.remove(call)
            error = gateway.recorder.error or overload(call.model)
            gateway.turn_away(call, error, call.served.name)

    def answer(self, answered: list[Answered]) -> None:
        """Take the answers of backends."""
        gateway = self._gateway
        now_ns = monotonic_ns()
        late = gateway.counters.late
        told: list[Call] = []
        facts: list[Encoded] = []
        for call, status, lines, body in answered:
            served, lane = call.served, call.lane
            try:
                plain = (
                    status == 200
                    and served.passes_on
                    and call.head.wire == OIP
                    and call.asked is None
                    and HEAD_BYTES not in lines
                )
                skim(body)
            except Exception:
                plain = False
            if not plain:
                gateway.on_answer(call, status, lines, body)
                continue
            call.state = DONE
            call.queue.pop(call, None)
            lane.flying -= 1
            served.tally.taken -= 1
            gateway.taken -= 1
            took_ns = now_ns - call.arrived_ns
            counted = lane.counted[call.arm]
            if not counted.took:
                late.append(counted.count)
            counted.took.append(took_ns)
            counted.flew.append(now_ns - call.sent_ns)
            pid = call.pid
            times = _encode((took_ns // 1000, call.queue_us, call.attempts))
            if call.noted:
                fact = _ANSWER + pid + lane.ok_start + times[1:] + _OK_END
                facts.append((lane.ok_label, fact, body))
            else:
                gateway.recorder.count_lost(Answer)
            call.reply_status = 200
            call.reply_body = body
            call.reply_lines = b"%b%bredpoll-prediction-id: %b\r\nx-request-id: %b\r\n" % (
                lines,
                lane.model_lines,
                pid,
                pid if call.own_id is None else call.encoded_id,
            )
            told.append(call)
        self._late += len(told)
        if self._late > _LATE_MAX:
            self._late = 0
            gateway.counters.settle()
        gateway.recorder.answer_all(told, facts)
        if gateway.asking.thirsty:
            gateway.asking.pump()
        if gateway.draining and gateway.taken == 0:
            gateway.drained.set()
