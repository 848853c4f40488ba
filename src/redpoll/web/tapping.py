"""``POST /v1/tap``: events in, one receipt out, once all of them are in the journal."""

from __future__ import annotations

import time
from functools import partial

from redpoll.errors import RedpollError
from redpoll.gateway.call import DONE, Call, Head
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.tap import Event, Tap
from redpoll.web import cloudevents, outcomes
from redpoll.web.http import JSON, Connection

METRIC = "redpoll_tapped_events_total"


def listen(tap: Tap, gateway: Gateway, connection: Connection, head: Head, body: bytes) -> None:
    """Hear what a request holds. RP-101, RP-111 where that is no event."""
    events = cloudevents.read(head.headers, body)
    receipt = _Receipt(gateway, connection, head, len(events))
    for number, event in enumerate(events, 1):
        if isinstance(event, RedpollError):
            receipt.settled(number, None, event)
            continue
        settled = partial(receipt.settled, number, event)
        try:
            tap.hear(event, settled)
        except RedpollError as error:
            settled(error)


class _Receipt:
    """What became of the events of one request."""

    def __init__(self, gateway: Gateway, connection: Connection, head: Head, count: int) -> None:
        self._gateway = gateway
        self._count = self._left = count
        self._errors: list[tuple[int, RedpollError]] = []
        call = self._call = Call(connection, head, b"", time.monotonic_ns())
        call.state, call.own_id = DONE, head.request_id
        connection.call = call

    def settled(self, number: int, event: Event | None, error: RedpollError | None) -> None:
        """One event is in the journal, or cannot be."""
        known = event is not None and event.model in self._gateway.models
        model, kind = (event.model if known else "_", event.kind) if event else ("_", "_")
        result = "accepted" if error is None else "rejected"
        self._gateway.counters.inc(METRIC, (model, kind, result))
        if error is not None:
            self._errors.append((number, error))
        self._left -= 1
        if self._left == 0:
            self._reply()

    def _reply(self) -> None:
        call = self._call
        if self._count == 1 and self._errors:
            call.refuse(self._errors[0][1])
        else:
            call.reply_status, call.reply_lines = 200, JSON
            self._errors.sort(key=lambda one: one[0])
            call.reply_body = outcomes.receipt(self._count - len(self._errors), self._errors)
        self._gateway.recorder.reply(call)
