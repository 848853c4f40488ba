"""After a candidate's failure the stable is asked the same, off the reply's way.

Only so that a page can show the stable's answer beside the failure: it is no evidence, and it is
asked only where it costs nobody anything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redpoll.backends.port import Ask, Failure
from redpoll.capture import TEXT
from redpoll.facts import Answer
from redpoll.gateway import replies
from redpoll.gateway.call import OIP, Call
from redpoll.gateway.lanes import Lane
from redpoll.gateway.reading import encode_rows
from redpoll.gateway.replies import Verdict

if TYPE_CHECKING:
    from redpoll.gateway.gateway import Gateway

LOOKS_MAX = 20  # of one rollout
PAUSE_S, PATIENCE = 0.005, 400  # how often, and how many times, a free moment is looked for
FAILURES = ("error", "timeout", "invalid")


class SecondLook(Ask):
    """The stable's answer to what the candidate failed at."""

    def __init__(self, looks: SecondLooks, call: Call, lane: Lane, payload: bytes) -> None:
        super().__init__(payload, call.lines)
        self.looks = looks
        self.call = call
        self.lane = lane
        self.asked_ns = time.monotonic_ns()

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        """Journal it."""
        self.looks.done(self, replies.judge(self.call, self.lane, status, body, lines))

    def failed(self, failure: Failure) -> None:
        """Journal that, too."""
        text = failure.message.encode()
        status = "invalid" if failure.code == "RP-201" else "error"
        self.looks.done(self, Verdict(status, failure.code, text, TEXT))


class SecondLooks:
    """At most one under way and :data:`LOOKS_MAX` in a rollout."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._counts: dict[str, int] = {}
        self._flying: SecondLook | None = None

    def consider(self, call: Call, status: str) -> None:
        """Ask the stable once it has time, where this is a candidate's failure."""
        served = call.served
        lane, rollout = served.live, served.route.rollout_id
        if call.arm != "candidate" or status not in FAILURES or self._flying is not None:
            return
        if lane is None or lane is call.lane or rollout is None or not lane.resend:
            return
        if call.head.binary >= 0 and not lane.binary:
            return  # it would want the request written anew
        if self._counts.get(rollout, 0) >= LOOKS_MAX or not call.noted:
            return
        self._counts[rollout] = self._counts.get(rollout, 0) + 1
        payload = call.payload if call.wire == OIP else encode_rows(call, served, lane.worker)
        look = self._flying = SecondLook(self, call, lane, payload)
        lane.looks += 1
        self._gateway.loop.call_soon(self._start, look, PATIENCE)

    def _start(self, look: SecondLook, turns: int) -> None:
        """Ask in a moment when the stable has nothing to do; give up where none comes."""
        lane, loop = look.lane, self._gateway.loop
        if not lane.waiting and lane.backend.free():
            look.asked_ns = time.monotonic_ns()
            loop.call_later(lane.timeout_ms / 1000, self._expired, look)
            lane.backend.ask(look)
        elif turns > 0:
            loop.call_later(PAUSE_S, self._start, look, turns - 1)
        else:
            self._flying = None
            lane.looks -= 1

    def _expired(self, look: SecondLook) -> None:
        if self._flying is look:
            look.lane.backend.cancel(look)
            self.done(look, Verdict("timeout", "RP-109"))

    def done(self, look: SecondLook, verdict: Verdict) -> None:
        """Journal the stable's answer under role ``shadow``."""
        self._flying = None
        lane, call = look.lane, look.call
        lane.looks -= 1
        lane.shadow_answers[verdict.status].value += 1
        if call.served.keeping is not None:
            verdict = call.served.keeping.answer(call, verdict)
        took_ns = time.monotonic_ns() - look.asked_ns
        lane.shadow_duration.observe(took_ns / 1e9)
        answer = Answer(
            call.prediction_id,
            lane.version,
            "shadow",
            verdict.status,
            verdict.code,
            took_ns // 1000,
            0,
            look.attempts,
            "model",
            verdict.outputs,
        )
        self._gateway.recorder.fact(call.served.name, answer, verdict.raw, verdict.raw_format)
        self._gateway.asking.pump()
