"""What is known of a model and its versions while they are served: a route, ready to be used."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from typing import TYPE_CHECKING

from redpoll.backends.inprocess import InProcess
from redpoll.backends.link import Link
from redpoll.backends.pool import HttpBackend
from redpoll.backends.port import Backend
from redpoll.backends.remote import remote
from redpoll.backends.unreachable import Unreachable
from redpoll.capture import OIP_ANSWER
from redpoll.catalog import Model, Version
from redpoll.errors import RedpollError
from redpoll.facts import ARMS, CODES, Answer
from redpoll.gateway.keeping import keeping_of
from redpoll.host.counters import Cell, Counters
from redpoll.host.tick import Inbox
from redpoll.journal.frames import encode_fact, label
from redpoll.rollout.assign import hasher
from redpoll.routes import Route, Target
from redpoll.tensors.datatypes import taken_for
from redpoll.tensors.forms import Forms

if TYPE_CHECKING:
    from redpoll.gateway.call import Call
    from redpoll.gateway.gateway import Gateway


MOST_AT_ONCE = 256  # requests under way at one worker


class Cells(dict[str, Cell]):
    """Counters of one metric by their last label, the status; made when they are first wanted."""

    def __init__(self, counters: Counters, metric: str, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._counters = counters
        self._metric = metric
        self._labels = labels

    def __missing__(self, status: str) -> Cell:
        cell = self[status] = self._counters.cell(self._metric, (*self._labels, status))
        return cell


class Counted:
    """Answers "ok" of one lane to one arm, counted a batch at a time."""

    def __init__(self, lane: Lane, model: str, arm: str, counters: Counters) -> None:
        self.took: list[int] = []  # ns, from arrival to answer, of the present batch
        self.flew: list[int] = []  # ns, from ask to answer
        self._lane = lane
        self._arm = arm
        self._durations = counters.histogram("redpoll_request_duration_seconds", (model, arm))

    def count(self) -> None:
        """Take the batch into the counters."""
        lane, count = self._lane, len(self.took)
        lane.answers["ok"].value += count
        lane.requests[self._arm]["ok"].value += count
        self._durations.observe_all(self.took)
        lane.duration.observe_all(self.flew)
        self.took, self.flew = [], []


class Lane:
    """One version of one model: its backend, who waits for it, and its counters."""

    def __init__(self, model: str, target: Target, backend: Backend, counters: Counters) -> None:
        version = target.version
        self.version = version.name
        self.worker = version.worker
        self.retarget(target)
        self.backend = backend
        self.timeout_ms = version.timeout_ms
        self.resend = version.resend
        self.waiting: OrderedDict[Call, None] = OrderedDict()
        self.flying = 0  # calls that the backend is working on
        self.looks = 0  # second looks under way
        self.version_lines = b"redpoll-version: %b\r\n" % version.name.encode()
        self.model_lines = self.version_lines + b"redpoll-decided-by: model\r\n"
        # An Answer "ok" in the journal: its label, and what is between prediction id and times.
        self.ok_label = label(model, CODES[Answer], OIP_ANSWER)
        self.ok_start = b"".join(map(encode_fact, (version.name, "live", "ok", None)))
        self.requests = {
            arm: Cells(counters, "redpoll_requests_total", (model, version.name, arm))
            for arm in ARMS
        }
        live, shadow = (model, version.name, "live"), (model, version.name, "shadow")
        self.answers = Cells(counters, "redpoll_answers_total", live)
        self.shadow_answers = Cells(counters, "redpoll_answers_total", shadow)
        self.counted = {arm: Counted(self, model, arm, counters) for arm in ARMS}
        self.duration = counters.histogram("redpoll_backend_duration_seconds", live)
        self.shadow_duration = counters.histogram("redpoll_backend_duration_seconds", shadow)

    @property
    def binary(self) -> bool:
        """Whether it reads binary tensors: our workers do, other servers where they say so."""
        return self.worker or self.backend.binary

    def in_use(self) -> bool:
        """Whether anybody waits for it or is being answered by it."""
        return bool(self.flying or self.waiting or self.looks)

    def retarget(self, target: Target) -> None:
        """The same version at the same addresses, told anew whether its workers run."""
        self.target = target
        self.stopped = self.worker and not target.run


def make_backend(
    model: Model, target: Target, inbox: Inbox[tuple[Link, bytes]] | None = None
) -> Backend:
    """The backend of a target: one URL, or its workers' sockets (one call at a time each)."""
    version = target.version
    worker = version.worker
    if not target.addresses:
        return Unreachable(
            f"{model.name} {version.name} has no address; apply its configuration again."
        )
    if not worker:
        return remote(version, target.addresses, model, os.environ, inbox)
    try:
        backend = HttpBackend(
            target.addresses,
            model.name,
            connections=_calls_at_once(version),
            idle_s=3600.0,
            resend=version.resend,
            inbox=inbox,
        )
    except RedpollError as error:
        return Unreachable(error.message)
    return InProcess(backend, model, version) if version.kind == "in-process" else backend


def _calls_at_once(version: Version) -> int:
    """Requests under way at one worker: one, or what may become two calls of a batch."""
    return min(2 * version.batch.rows, MOST_AT_ONCE) if version.batch is not None else 1


class Served:
    """One model's route and counts. Made anew for every change of the route; lanes live on."""

    def __init__(self, gateway: Gateway, route: Route, lanes: dict[str, Lane]) -> None:
        model = route.model
        counters = gateway.counters
        self.gateway = gateway
        self.answered = gateway.answered
        self.route = route
        self.name = route.model.name
        self.number = route.number
        self.generation = route.generation
        self.lanes = lanes
        self.live = lanes.get(route.live) if route.live else None
        candidate = lanes.get(route.candidate) if route.candidate else None
        self.candidate = candidate if route.weight > 0 else None
        self.weight = route.weight
        self.salt = route.salt
        # The recorded draws, by arm; by version where there was none.
        self.draws = {
            "stable": _draws(route.live or "", "stable", route.weight),
            "candidate": _draws(route.candidate or "", "candidate", route.weight),
        }
        self.draws_none = {version: _draws(version, "none", 0.0) for version in lanes}
        self.rollout_id = route.rollout_id
        self.sticky = model.unit != "request"
        source, _, name = (model.unit_from or "header:redpoll-unit").partition(":")
        self.unit_header = name.lower().encode() if source == "header" else b""
        self.unit_input = name if source == "input" else ""
        self.reject_missing = self.sticky and model.unit_missing == "reject"
        self.group_inputs = {
            group: where.partition(":")[2]
            for group, where in model.groups.items()
            if where.startswith("input:")
        }
        self.also = frozenset({*self.group_inputs.values(), self.unit_input} - {""})
        self.taken_kinds = {name: taken_for(kind) for name, kind in model.inputs.items()}
        output = model.output
        names = (output.name, output.score) if output is not None else ()
        self.declared_outputs = frozenset(name for name in names if name)
        # Whether values of OIP tensors must be looked at, beyond being read.
        self.looks_inside = bool(model.inputs or self.also or model.redact or names)
        # Whether route and headers alone decide where a request goes and what its fact says.
        self.keeping = keeping_of(model, counters)
        self.head_decides = not self.also and not model.redact and self.keeping is None
        # What was checked is known by its form, where values decide nothing.
        self.forms = gateway.tally(self.name).forms_of(model) if self.head_decides else Forms()
        # Whether an answer 200 to an OIP request is passed on as it is.
        self.passes_on = self.keeping is None and not (self.declared_outputs or model.redact)
        self.place = hasher(self.salt)
        self.in_flight_max = model.limits.in_flight
        self.queue_max = model.limits.queue
        self.taken_max = self.in_flight_max + self.queue_max
        self.tally = gateway.tally(self.name)
        leaving = (lane for lane in self.tally.lanes if lane.in_use())
        self.tally.lanes = tuple({*lanes.values(), *leaving})
        self.units_missing = counters.cell("redpoll_units_missing_total", (self.name,))
        self.durations = {
            arm: counters.histogram("redpoll_request_duration_seconds", (self.name, arm))
            for arm in ARMS
        }


class Tally:
    """How many requests of a model are where. Outlives changes of its route."""

    __slots__ = ("_forms", "_model", "lanes", "taken", "waiting")

    def __init__(self) -> None:
        self.taken = 0  # taken in and not answered
        self.waiting = 0  # of these: drawn and journalled, waiting for a backend
        self.lanes: tuple[Lane, ...] = ()  # the model's; those that go out of use, too
        self._forms = Forms()
        self._model: Model | None = None

    def forms_of(self, model: Model) -> Forms:
        """The forms of the model's requests; new ones where anything of its declaration changed."""
        if self._model is not None and self._model != model:
            self._forms = Forms()
        self._model = model
        return self._forms

    @property
    def flying(self) -> int:
        """How many a backend is working on. Not counted by itself: it is seldom asked for."""
        return sum(lane.flying for lane in self.lanes)


def _draws(version: str, arm: str, weight: float) -> str:
    """The recorded draws: the arm with its probability, then the version that follows from it."""
    draws = []
    if arm != "none":
        probability = weight if arm == "candidate" else 1.0 - weight
        draws.append({"purpose": "arm", "choice": arm, "probability": probability})
    draws.append({"purpose": "route", "choice": version, "probability": 1.0})
    return json.dumps(draws, separators=(",", ":"))
