"""Who may be asked now, who waits for room, and in which order they start."""

from __future__ import annotations

import logging
from time import monotonic_ns
from typing import TYPE_CHECKING

from redpoll.gateway.call import FLYING, TAKEN, WAITING, Call
from redpoll.gateway.lanes import Lane, Served

if TYPE_CHECKING:
    from redpoll.gateway.gateway import Gateway

log = logging.getLogger("redpoll.gateway")
_IDS = b"x-request-id: %b\r\nredpoll-prediction-id: %b\r\n%b"


class Asking:
    """Bounds what backends are asked at once."""

    def __init__(self, gateway: Gateway) -> None:
        self.waiting = 0  # of all models, drawn and journalled
        self.thirsty: dict[Lane, None] = {}  # lanes that somebody waits for
        self._gateway = gateway
        self._limits = gateway.limits

    def pump(self) -> None:
        """Start what waits, as far as there is room."""
        for lane in list(self.thirsty):
            while lane.waiting and self._room(lane, next(iter(lane.waiting)).served):
                call, _ = lane.waiting.popitem(last=False)
                self.waiting -= 1
                call.served.tally.waiting -= 1
                self._start(call)
            if not lane.waiting:
                self.thirsty.pop(lane, None)

    def launch(self, calls: list[Call]) -> None:
        """These requests are in the journal: ask, or wait for room, or refuse."""
        now_ns, gateway, in_flight_max = monotonic_ns(), self._gateway, self._limits.in_flight
        for call in calls:
            try:
                if call.state != TAKEN:
                    continue
                lane, tally = call.lane, call.served.tally
                if (
                    lane.waiting
                    or tally.taken > call.served.in_flight_max
                    or gateway.taken > in_flight_max
                ):
                    self._crowded(call)
                    continue
                pid = call.pid
                call.lines = _IDS % (
                    pid if call.own_id is None else call.encoded_id,
                    pid,
                    call.head.forward,
                )
                if not lane.backend.ask_now(call):
                    self._crowded(call)
                    continue
                call.state = FLYING
                lane.flying += 1
                call.sent_ns = now_ns
                call.queue_us = (now_ns - call.arrived_ns) // 1000
            except Exception:
                log.exception("an ask failed", extra={"request_id": call.request_id})

    def _crowded(self, call: Call) -> None:
        """Perhaps there is no room: ask, or wait for room, or refuse."""
        served, lane = call.served, call.lane
        if not lane.waiting and self._room(lane, served):
            self._start(call)
            return
        if served.tally.waiting >= served.queue_max or self.waiting >= self._limits.queue:
            self._gateway.overloaded(call)
            return
        call.state = WAITING
        lane.waiting[call] = None
        self.thirsty[lane] = None
        self.waiting += 1
        served.tally.waiting += 1

    def _room(self, lane: Lane, served: Served) -> bool:
        # How many fly is counted only where it can matter: where more are taken in than may fly.
        tally, limits = served.tally, self._limits
        if tally.taken > served.in_flight_max and tally.flying >= served.in_flight_max:
            return False
        if self._gateway.taken > limits.in_flight and self._gateway.flying >= limits.in_flight:
            return False
        return lane.backend.free()

    def _start(self, call: Call) -> None:
        """Ask one that waited; ``launch`` does the same for many."""
        call.state = FLYING
        lane = call.lane
        lane.flying += 1
        call.sent_ns = sent_ns = monotonic_ns()
        call.queue_us = (sent_ns - call.arrived_ns) // 1000
        call.lines = _IDS % (call.encoded_id, call.pid, call.head.forward)
        lane.backend.ask(call)
