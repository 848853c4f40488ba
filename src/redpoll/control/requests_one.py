"""Everything about one prediction. Reads files: not for the loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from redpoll.catalog import Model
from redpoll.control.request_words import sentence
from redpoll.control.requests import unknown
from redpoll.facts import Answer, Entry, Outcome, Request
from redpoll.host.paths import DataDir
from redpoll.journal.layout import Layout
from redpoll.journal.newest import Budget, find
from redpoll.journal.wanted import LATEST_US, Wanted
from redpoll.views import (
    AnswerView,
    DecisionView,
    OutcomeView,
    RequestView,
    WindowView,
)

FACTS_MAX = 5_000_000
SECONDS_MAX = 6.0
HELD_US = 7_200_000_000  # by how much a stream's held clock may be ahead of an id's
SLACK_US = 5_000_000
SOON_US = 60_000_000
ANSWERED_US = 3_600_000_000
ANSWERS_MAX = 64
OUTCOMES_MAX = 200
BEFORE, BEHIND = 2, 3  # Decisions around the request
BODY_SHOWN = 64 * 1024


def request(
    data: DataDir,
    model: Model,
    prediction_id: str,
    made_us: int,
    decisions: Sequence[DecisionView],
    now_us: int,
) -> RequestView:
    """The request, its answers of all roles, what came afterwards, what was decided around it.

    ``decisions``: the model's, oldest first. RP-405 where the log does not have it.
    """
    layout, mine = Layout(data), {"prediction_id": frozenset([prediction_id])}
    models = (model.name,)
    budget = Budget(FACTS_MAX, SECONDS_MAX)
    entry, fact = _request(layout, model, prediction_id, made_us, budget)
    answers = _answers(layout, models, mine, entry.time_us, budget)
    outcomes, notes = _outcomes(layout, model, fact, entry.time_us, budget)
    if budget.unreadable:
        notes.append(f"Damaged, and passed over: {', '.join(sorted(budget.unreadable))}.")
    return RequestView(
        prediction_id=prediction_id,
        request_id=fact.request_id,
        model=model.name,
        time_us=entry.time_us,
        stream=entry.stream,
        sequence=entry.sequence,
        rows=fact.rows,
        unit=fact.unit,
        unit_kind=model.unit,
        subject=fact.subject,
        groups=fact.groups,
        arm=fact.arm,
        arm_probability=fact.arm_probability,
        rollout_id=fact.rollout_id,
        route_generation=fact.route_generation,
        version_requested=fact.version_requested,
        draws=_list(fact.draws),
        inputs=fact.inputs,
        body=_text(fact.body),
        encoding=fact.encoding,
        capture=fact.capture,
        capture_probability=fact.capture_probability,
        redacted=model.redact,
        trace_id=fact.trace_id,
        answers=tuple(answers),
        outcomes=tuple(outcomes),
        windows=tuple(_windows(model, outcomes, entry.time_us, now_us)),
        decisions=_around(decisions, entry.time_us),
        sentence=sentence(fact, answers),
        notes=tuple(notes),
    )


def _request(
    layout: Layout, model: Model, prediction_id: str, made_us: int, budget: Budget
) -> tuple[Entry, Request]:
    """The request itself. RP-405 where the log does not have it."""
    mine = {"prediction_id": frozenset([prediction_id])}
    entries: list[Entry] = []
    for behind_us in (SOON_US, HELD_US):  # nearly always at once: the id holds when it was made
        since_us, until_us = made_us - SLACK_US, made_us + behind_us
        wanted = Wanted("request", (model.name,), mine, since_us, until_us, True)
        entries = entries or find(layout, wanted, limit=1, after=None, budget=budget).entries
    if not entries or not isinstance(entries[0].fact, Request):
        damaged = f"; damaged: {', '.join(sorted(budget.unreadable))}" if budget.unreadable else ""
        raise unknown(
            prediction_id,
            f"is not in the log of {model.name}: it was never journalled, or its hour was deleted"
            f" (capture.keep){damaged}",
        )
    return entries[0], entries[0].fact


def _answers(
    layout: Layout,
    models: tuple[str, ...],
    mine: dict[str, frozenset[str]],
    time_us: int,
    budget: Budget,
) -> list[AnswerView]:
    """All roles, in order of time; looked for the longer, the longer no live one is there."""
    found: list[Entry] = []
    since_us = time_us - SLACK_US
    for until_us in (time_us + SOON_US, time_us + ANSWERED_US, LATEST_US):
        wanted = Wanted("answer", models, mine, since_us, until_us, True)
        found += find(layout, wanted, limit=ANSWERS_MAX, after=None, budget=budget).entries
        if any(isinstance(e.fact, Answer) and e.fact.role == "live" for e in found):
            break
        since_us = until_us
    ordered = sorted(found, key=lambda e: (e.time_us, e.stream, e.sequence))
    return [_answer(entry, entry.fact) for entry in ordered if isinstance(entry.fact, Answer)]


def _answer(entry: Entry, fact: Answer) -> AnswerView:
    return AnswerView(
        version=fact.version,
        role=fact.role,
        status=fact.status,
        error_code=fact.error_code,
        latency_ms=fact.latency_us / 1000,
        queue_ms=fact.queue_us / 1000,
        attempts=fact.attempts,
        decided_by=fact.decided_by,
        outputs=fact.outputs,
        reported=_object(fact.reported),
        time_us=entry.time_us,
        stream=entry.stream,
        sequence=entry.sequence,
    )


def _outcomes(
    layout: Layout, model: Model, fact: Request, time_us: int, budget: Budget
) -> tuple[list[OutcomeView], list[str]]:
    """By the prediction's id and by the request's, each id once, in order of arrival."""
    entries: list[Entry] = []
    notes: list[str] = []
    since_us = time_us - SLACK_US
    for name, value in (("prediction_id", fact.prediction_id), ("request_id", fact.request_id)):
        wanted = Wanted("outcome", (model.name,), {name: frozenset([value])}, since_us)
        found = find(layout, wanted, limit=OUTCOMES_MAX, after=None, budget=budget)
        entries += found.entries
        if found.more is not None:
            notes.append(
                "There are more outcomes than are looked for here; see `redpoll log query`."
            )
    ordered = sorted(entries, key=lambda e: (e.time_us, e.stream, e.sequence))
    facts: dict[str, tuple[Entry, Outcome]] = {}
    for entry in ordered:
        one = entry.fact
        assert isinstance(one, Outcome)
        if one.prediction_id in (None, fact.prediction_id):
            facts.setdefault(one.outcome_id, (entry, one))  # the same id again is the same outcome
    taken_back = {one.retracts for _, one in facts.values() if one.retracts}
    views = [
        OutcomeView(
            outcome_id=one.outcome_id,
            name=one.name,
            row=one.row,
            value=one.value,
            value_text=one.value_text,
            happened_us=one.happened,
            arrived_us=entry.time_us,
            retracts=one.retracts,
            retracted=one.outcome_id in taken_back,
            source=one.source,
        )
        for entry, one in facts.values()
    ]
    return views, notes[:1]


def _windows(
    model: Model, outcomes: Sequence[OutcomeView], time_us: int, now_us: int
) -> list[WindowView]:
    """What the model declares and has not come: open still, or what its silence means."""
    came = {one.name for one in outcomes}
    found = []
    for spec in model.outcomes:
        if spec.name in came or spec.window_s is None:
            continue
        ends_us = time_us + int(spec.window_s * 1e6)
        found.append(
            WindowView(name=spec.name, ends_us=ends_us, open=now_us < ends_us, absent=spec.absent)
        )
    return found


def _around(decisions: Sequence[DecisionView], time_us: int) -> tuple[DecisionView, ...]:
    before = [one for one in decisions if one.time_us <= time_us]
    behind = [one for one in decisions if one.time_us > time_us]
    return (*before[-BEFORE:], *behind[:BEHIND])


def _text(body: bytes | None) -> str | None:
    return None if body is None else body[:BODY_SHOWN].decode("utf-8", "replace")


def _list(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
