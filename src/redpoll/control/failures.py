"""Failing requests of a candidate, with their bodies, beside what the stable answered."""

from __future__ import annotations

import json
from typing import Any

from redpoll.capture import materialise
from redpoll.catalog import Model
from redpoll.control.watch import Failure
from redpoll.facts import Answer, Entry, Request
from redpoll.journal.port import Journal
from redpoll.views import FailureView

LOOKED_AT = 400  # requests before a failed one among which an equal input is looked for
CACHED = 200

Position = tuple[str, int]


class FailureBook:
    """Reads bodies when a page asks for them, once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[tuple[str, bool], FailureView] = {}

    def view(
        self, model: Model, stable: str, failure: Failure, cursors: dict[str, int]
    ) -> FailureView:
        """One failure, whole. ``cursors``: up to where everything is known; nothing later is read."""
        key = (failure.prediction_id, failure.shadow is not None)
        if key not in self._known:
            while len(self._known) >= CACHED:
                del self._known[next(iter(self._known))]
            self._known[key] = self._read(model, stable, failure, cursors)
        return self._known[key]

    def _read(
        self, model: Model, stable: str, failure: Failure, cursors: dict[str, int]
    ) -> FailureView:
        request = self._at(model, failure.request, "request", cursors)
        asked = request.fact if request is not None else None
        inputs = asked.inputs if isinstance(asked, Request) else None
        answer = self._answer(model, failure.answer, cursors)
        beside = self._answer(model, failure.shadow, cursors)
        if beside is None and inputs is not None:
            beside = self._equal(model, failure.request, inputs, stable, cursors)
        return FailureView(
            prediction_id=failure.prediction_id,
            time_us=failure.time_us,
            inputs=inputs,
            status=failure.status,
            error_code=failure.error_code,
            latency_ms=failure.latency_us / 1000,
            candidate_answer=answer.outputs if answer is not None else None,
            stable_version=beside.version if beside is not None else None,
            stable_answer=beside.outputs if beside is not None else None,
            stable_latency_ms=beside.latency_us / 1000 if beside is not None else None,
        )

    def _answer(
        self, model: Model, position: Position | None, cursors: dict[str, int]
    ) -> Answer | None:
        entry = self._at(model, position, "answer", cursors) if position else None
        return entry.fact if entry is not None and isinstance(entry.fact, Answer) else None

    def _at(
        self, model: Model, position: Position, kind: str, cursors: dict[str, int]
    ) -> Entry | None:
        """The fact at a position, with its final columns."""
        stream, sequence = position
        behind = cursors | {stream: sequence - 1}
        for entry in self._journal.read(behind, kinds=[kind], models=[model.name]):
            if entry.stream == stream:
                return _whole(entry, model) if entry.sequence == sequence else None
        return None

    def _equal(
        self, model: Model, position: Position, inputs: str, stable: str, cursors: dict[str, int]
    ) -> Answer | None:
        """What the stable answered lately to an equal input, or None."""
        stream, sequence = position
        wanted = _parsed(inputs)
        behind = cursors | {stream: max(-1, sequence - LOOKED_AT)}
        same: set[str] = set()
        found: Answer | None = None
        for entry in self._journal.read(behind, kinds=["request", "answer"], models=[model.name]):
            fact = entry.fact
            if entry.stream != stream or entry.sequence > sequence + LOOKED_AT:
                continue
            if isinstance(fact, Request) and fact.arm != "candidate":
                whole = _whole(entry, model).fact
                if isinstance(whole, Request) and _parsed(whole.inputs) == wanted:
                    same.add(fact.prediction_id)
            elif isinstance(fact, Answer) and fact.prediction_id in same:
                answer = _whole(entry, model).fact
                if isinstance(answer, Answer) and fact.version == stable and fact.status == "ok":
                    found = answer
        return found


def _whole(entry: Entry, model: Model) -> Entry:
    fact = materialise(entry, model.tensor)
    return Entry(entry.stream, entry.sequence, entry.time_us, entry.schema, entry.model, fact)


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text) if text is not None else None
    except ValueError:
        return None
