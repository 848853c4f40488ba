"""Listening to models that redpoll does not carry: events of requests and answers become facts.

What is heard has arm ``none``: it is there for monitors, outcomes and replay, never for a gate. The
two events of one prediction share an id and may come in either order. An answer that comes first
waits, its sender with it, until the request is here: nothing is said to be taken that is not in the
journal.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic, time_ns
from typing import NamedTuple

import msgspec

from redpoll.capture.redact import Masks
from redpoll.errors import RedpollError, closest
from redpoll.facts import Answer, Request
from redpoll.gateway import tapped
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.lanes import Served
from redpoll.ids import IdMaker

log = logging.getLogger("redpoll.gateway")

REQUEST, RESPONSE = "request", "response"
EARLY_S = 5.0  # how long an answer waits for its request
EARLY_MAX = 1024
UNANSWERED_S = 60.0  # how long a request waits for its answer
OPEN_MAX = 65_536
SWEEP_S = 1.0
UNKNOWN_VERSION = "unknown"

Done = Callable[[RedpollError | None], None]


class Event(NamedTuple):
    """What was heard: a request that a model was asked, or what it answered."""

    kind: str  # request | response
    id: str
    model: str
    endpoint: str  # KServe's: default | canary; a version's name is taken for that version
    time_us: int | None  # when the sender saw it
    headers: dict[str, str]  # of the original request, as far as they are told; names in lower case
    trace_id: str | None
    data: bytes


class _Open(NamedTuple):
    """A request that is in the journal and has no answer yet."""

    prediction_id: str
    heard_s: float
    time_us: int | None
    version: str
    masks: Masks | None


class _Early(NamedTuple):
    event: Event
    done: Done
    heard_s: float


class Tap:
    """Pairs events and journals them. On the gateway's loop."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ids = IdMaker()
        self._open: OrderedDict[tuple[str, str], _Open] = OrderedDict()
        self._early: OrderedDict[tuple[str, str], _Early] = OrderedDict()
        self._sweeping = False

    def hear(self, event: Event, done: Done) -> None:
        """Take one event. ``done`` is called once it is noted, now or later, or with what is wrong.

        Raises ``RedpollError`` for what can be said at once: no such model, a body that cannot be
        read, a journal that cannot be written.
        """
        gateway = self._gateway
        served = gateway.models.get(event.model)
        if served is None:
            raise RedpollError(
                "RP-102",
                f"There is no model {event.model[:80]!r}; declare it in redpoll.toml, with the "
                "model's own address as its version." + closest(event.model, gateway.models),
            )
        error = gateway.well()
        if error is not None:
            raise error
        if event.kind == REQUEST:
            self._request(served, event)
            done(None)
        else:
            self._response(served, event, done)
        if not self._sweeping:
            self._sweeping = True
            gateway.loop.call_later(SWEEP_S, self._sweep)

    def _request(self, served: Served, event: Event) -> None:
        key = (event.model, event.id)
        if key in self._open:
            return  # told twice
        asked = tapped.request(event.data, served, event.headers)
        early = self._early.pop(key, None)
        number = self._note(served, event, asked)
        self._open[key] = number
        if early is not None:
            self._settle(early)
        while len(self._open) > OPEN_MAX:
            old, one = self._open.popitem(last=False)
            self._unanswered(old[0], one)

    def _note(self, served: Served, event: Event, asked: tapped.Asked) -> _Open:
        version = _version(served, event)
        number = self._ids.prediction_id(served.number, time_ns() // 1000)
        fact = Request(
            number,
            event.id,
            asked.rows,
            asked.unit,
            event.headers.get("redpoll-subject"),
            asked.groups,
            route_generation=served.generation,
            draws=served.draws_none.get(version, "[]"),
            inputs=asked.inputs,
            capture="full" if asked.inputs is not None else "none",
            trace_id=event.trace_id,
        )
        if not self._gateway.recorder.fact(served.name, fact):
            raise self._gateway.recorder.error or RedpollError("RP-300", "The journal is full.")
        return _Open(number, monotonic(), event.time_us, version, asked.masks)

    def _response(self, served: Served, event: Event, done: Done) -> None:
        key = (event.model, event.id)
        early = _Early(event, done, monotonic())
        if key in self._open:
            self._settle(early)
        elif key in self._early:
            done(None)  # told twice
        else:
            self._early[key] = early
            if len(self._early) > EARLY_MAX:
                self._alone(self._early.popitem(last=False)[1])

    def _settle(self, early: _Early) -> None:
        """The answer to a request that is in the journal."""
        event = early.event
        one = self._open.pop((event.model, event.id))
        took_us = int((monotonic() - one.heard_s) * 1e6)
        if one.time_us is not None and event.time_us is not None and event.time_us >= one.time_us:
            took_us = event.time_us - one.time_us
        status, outputs = tapped.outputs(
            event.data, self._gateway.models.get(event.model), one.masks
        )
        code = None if status == "ok" else "RP-201"
        self._answer(event.model, one, status, outputs, code, took_us)
        early.done(None)

    def _alone(self, early: _Early) -> None:
        """An answer whose request nobody tells: it is kept all the same."""
        event = early.event
        served = self._gateway.models.get(event.model)
        try:
            if served is None:
                raise RedpollError("RP-102", f"There is no model {event.model[:80]!r} any more.")
            nothing = tapped.Asked(0, None, None, {}, None)
            self._open[event.model, event.id] = self._note(served, event, nothing)
        except RedpollError as error:
            early.done(error)
            return
        self._settle(early)

    def _unanswered(self, model: str, one: _Open) -> None:
        said = (
            f"no event of an answer came within {UNANSWERED_S:.0f} s; KServe tells only answers "
            "with status 200"
        )
        outputs = msgspec.json.encode({"error": said}).decode()
        self._answer(model, one, "lost", outputs, None, int(UNANSWERED_S * 1e6))

    def _answer(
        self, model: str, one: _Open, status: str, outputs: str, code: str | None, took_us: int
    ) -> None:
        fact = Answer(
            one.prediction_id, one.version, "live", status, code, took_us, outputs=outputs
        )
        self._gateway.recorder.fact(model, fact)  # one that fails is counted as lost there
        labels = (model, one.version, "none", status)
        self._gateway.counters.inc("redpoll_requests_total", labels)

    def _sweep(self) -> None:
        """Let nobody wait for ever."""
        now_s = monotonic()
        while self._early and now_s - next(iter(self._early.values())).heard_s > EARLY_S:
            self._alone(self._early.popitem(last=False)[1])
        while self._open and now_s - next(iter(self._open.values())).heard_s > UNANSWERED_S:
            (model, _), one = self._open.popitem(last=False)
            self._unanswered(model, one)
        self._sweeping = bool(self._early or self._open)
        if self._sweeping:
            self._gateway.loop.call_later(SWEEP_S, self._sweep)


def _version(served: Served, event: Event) -> str:
    """Who answered: the endpoint where it is a version's name, else the live one."""
    if event.endpoint in served.lanes:
        return event.endpoint
    return served.live.version if served.live is not None else UNKNOWN_VERSION
