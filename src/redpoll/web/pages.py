"""What each page shows: views of control turned into plain values for the templates. No I/O of its
own; each function reads control once and decides order, words and severity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from redpoll.errors import RedpollError
from redpoll.views import (
    ArmView,
    DecisionView,
    FailureView,
    GateView,
    ModelView,
    Overview,
    RolloutView,
)
from redpoll.web import charts, words

if TYPE_CHECKING:
    from redpoll.control.service import Control

FAILURES = 3
STDERR_LINES = 40


class Page(NamedTuple):
    """A template, what it shows, and the same as data for ``.json`` and ``.csv``."""

    template: str
    context: dict[str, Any]
    data: Any
    rows: Sequence[dict[str, Any]] = ()


class Asked(NamedTuple):
    """What the address says: its query, the time now, and whether stderr may be shown."""

    now_us: int
    query: dict[str, str]
    operator: bool = True


def _frame(title: str, here: str, overview: Overview) -> dict[str, Any]:
    """What the frame of every page needs."""
    running = [
        m
        for m in overview.models
        if m.rollout and m.rollout.state in ("pending", "running", "paused")
    ]
    needs = sum(1 for m in overview.models if m.needs)
    return {
        "title": title,
        "here": here,
        "needs": needs,
        "calls": bool(needs),
        "running": len(running),
        "as_of_us": overview.as_of_us,
        "age_s": overview.age_s,
        "models": overview.models,
    }


def now(control: Control, asked: Asked) -> Page:
    """Does anything need me?"""
    overview = control.overview()
    needs = [m for m in overview.models if m.needs]
    title = f"{len(needs)} to look at: {needs[0].sentence}" if needs else "Now: nothing needs you"
    quiet = [m.name for m in overview.models if not m.needs]
    context = _frame(title, "now", overview) | {
        "overview": overview,
        "severity": "back" if needs else "calm",
        "quiet": _names(quiet) + (" needs nothing." if len(quiet) == 1 else " need nothing.")
        if needs and quiet
        else "",
        "rows": [_model_row(m) for m in overview.models],
        "decisions": overview.decisions,
    }
    rows = [
        {
            "model": m.name,
            "live": m.live,
            "candidate": m.candidate,
            "weight": m.weight,
            "rollout": m.rollout.id if m.rollout else None,
            "state": m.rollout.state if m.rollout else None,
            "requests_per_second": m.requests_per_second,
            "error_rate": m.error_rate,
            "p95_ms": m.p95_ms,
            "unit_share": m.unit_share,
            "generation": m.generation,
            "sentence": m.sentence,
            "needs": m.needs,
        }
        for m in overview.models
    ]
    return Page("now.html", context, overview, rows)


def _model_row(model: ModelView) -> dict[str, Any]:
    rollout = model.rollout
    observed = rollout.observed_share if rollout else None
    return {"model": model, "rollout": rollout, "observed": observed, "history": ()}


def rollouts(control: Control, asked: Asked) -> Page:
    """Every rollout of every model, newest first; ``?model=`` and ``?state=`` filter."""
    overview = control.overview()
    wanted_model, wanted_state = asked.query.get("model", ""), asked.query.get("state", "")
    names = [wanted_model] if wanted_model else [m.name for m in overview.models]
    found = [r for name in names for r in control.rollouts(name)]
    found = [r for r in found if wanted_state in ("", r.state)]
    found.sort(key=lambda r: r.started_us, reverse=True)
    context = _frame("Rollouts", "rollouts", overview) | {
        "rollouts": found,
        "wanted_model": wanted_model,
        "wanted_state": wanted_state,
        "states": ("running", "paused", "promoted", "rolled_back", "aborted", "superseded"),
    }
    rows = [
        {
            "id": r.id,
            "model": r.model,
            "version": r.version,
            "stable": r.stable,
            "strategy": r.strategy,
            "state": r.state,
            "weight": r.weight,
            "started": words.iso(r.started_us),
            "since": words.iso(r.since_us),
            "sentence": r.sentence,
        }
        for r in found
    ]
    return Page("rollouts.html", context, {"rollouts": found}, rows)


def rollout(control: Control, name: str, asked: Asked) -> Page:
    """Safe? What next?"""
    overview = control.overview()
    view = control.rollout(name)
    model = control.model(view.model)
    decisions = control.decisions(view.id, limit=100)
    curve = control.curve(view.id)
    at = asked.query.get("at")
    frozen = None
    if at:
        frozen = next((d for d in decisions if d.decision_id == at), None)
        if frozen is None:
            raise RedpollError(
                "RP-104",
                f"{view.id} has no decision {at[:60]!r}; the link may be "
                f"cut; open /rollouts/{view.id} for its decisions.",
            )
        view = as_decided(view, frozen)
        decisions = tuple(d for d in decisions if d.time_us <= frozen.time_us)
        curve = tuple(p for p in curve if p.time_us <= frozen.time_us)
    failures = () if frozen else control.failures(view.id, limit=FAILURES)
    per_s = model.requests_per_second or sum(a.requests_per_second for a in view.arms)
    ended = view.state not in ("pending", "running", "paused")
    mark = words.state(view)
    title = f"{view.model} {view.version} {mark.word}"
    if ended:
        title += f" {words.clock(view.since_us, asked.now_us)}"
    context = _frame(title, "rollouts", overview) | {
        "rollout": view,
        "model": model,
        "decisions": decisions,
        "mark": mark,
        "severity": words.severity(view),
        "ended": ended,
        "failures": failures,
        "bad": view.arms[1].bad if len(view.arms) > 1 else len(failures),
        "worst": _worst(view),
        "arms": view.arms,
        "per_s": per_s,
        "stderr": control.worker_stderr(view.model, view.version, STDERR_LINES)
        if asked.operator and failures
        else "",
        "buttons": [] if frozen else words.buttons(view, per_s),
        "charts": _charts(view, curve, asked.now_us),
        "evidence_age_s": max(0.0, (asked.now_us - view.as_of_us) / 1e6) if view.as_of_us else None,
        "frozen": frozen,
        "last": decisions[0] if decisions else None,
        "done": next((d for d in decisions if d.decision_id == asked.query.get("done")), None),
    }
    data = {"rollout": view, "decisions": decisions, "curve": curve, "failures": failures}
    rows = [
        {
            "decision_id": d.decision_id,
            "time": words.iso(d.time_us),
            "action": d.action,
            "from_state": d.from_state,
            "to_state": d.to_state,
            "actor": d.actor,
            "reason": d.reason,
            "sentence": d.sentence,
        }
        for d in decisions
    ]
    return Page("rollout.html", context, data, rows)


def as_decided(view: RolloutView, decision: DecisionView) -> RolloutView:
    """The rollout as it stood at a Decision: what that Decision recorded, and nothing newer."""
    said = decision.evidence
    gates = msgspec.convert(
        [_gate(g) for g in said.get("gates", ())], tuple[GateView, ...], strict=False
    )
    step = int(said.get("step", view.step))
    return msgspec.structs.replace(
        view,
        state=decision.to_state or view.state,
        step=step,
        weight=float(said.get("weight", view.weight)),
        sentence=decision.sentence,
        next_sentence="",
        gates=gates,
        arms=(),
        actions=(),
        shared_causes=(),
        observed_share=None,
        observed_requests=0,
        gateways={},
        since_us=decision.time_us,
        as_of_us=int(said.get("last_closed_us") or decision.time_us),
        steps=tuple(s for s in view.steps if s.since_us and s.since_us <= decision.time_us),
        spec_digest=decision.spec_digest or view.spec_digest,
    )


def _gate(said: dict[str, Any]) -> dict[str, Any]:
    empty = {
        "metric": "?",
        "kind": "guardrail",
        "answer": "undecided",
        "evidence": 1.0,
        "limit": 1.0,
        "sentence": "",
    }
    return empty | said


def _worst(view: RolloutView) -> GateView | None:
    """The gate that a reader wants first: one that failed, else the nearest to its limit."""
    if not view.gates:
        return None
    return max(view.gates, key=lambda g: (g.answer == "fail", g.evidence / max(g.limit, 1e-9)))


def _charts(view: RolloutView, curve: Sequence[Any], now_us: int) -> list[dict[str, Any]]:
    found = []
    ended = view.state not in ("pending", "running", "paused")
    for gate in view.gates:
        points = [p for p in curve if p.metric == gate.metric]
        start = min([view.started_us, *(p.time_us for p in points)])
        end = max([view.since_us if ended else now_us, *(p.time_us for p in points), start + 1])
        bands = _bands(view, start, end)
        consequence = (
            "rolls back" if view.plan.get("on_fail", "rollback") == "rollback" else "pauses"
        )
        found.append(
            {
                "gate": gate,
                "svg": charts.evidence_path(
                    charts.Path(
                        points=points,
                        limit=gate.limit,
                        consequence=consequence,
                        failed=gate.answer == "fail",
                        start_us=start,
                        end_us=end,
                        now_us=now_us,
                        bands=bands,
                        ended=words.state(view).word if ended else "",
                    )
                ),
            }
        )
    return found


def _bands(view: RolloutView, start: int, end: int) -> list[charts.Band]:
    begun = [s for s in view.steps if s.since_us is not None]
    bands = []
    for i, step in enumerate(begun):
        stop = begun[i + 1].since_us if i + 1 < len(begun) else end
        assert step.since_us is not None
        bands.append(charts.Band(step.since_us, stop or end, words.share(step.weight)))
    return bands


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def inputs_of(failure: FailureView) -> list[tuple[str, str]]:
    """The first row of a failed request, column by column, each value short enough for a line."""
    try:
        columns = msgspec.json.decode(failure.inputs or "{}")
    except msgspec.DecodeError:
        return [("input", str(failure.inputs)[:120])]
    if not isinstance(columns, dict):
        return [("input", str(columns)[:120])]
    return [
        (str(name), short(value[0] if isinstance(value, list) and value else value))
        for name, value in columns.items()
    ]


def answer_of(raw: str | None) -> str:
    """An answer's outputs (columns × rows) in one line: the first row's values."""
    if raw is None:
        return "no answer kept"
    try:
        said = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return short(raw)
    if isinstance(said, dict):
        values = [v[0] if isinstance(v, list) and v else v for v in said.values()]
        return ", ".join(short(v) for v in values) or "nothing"
    return short(said)


def short(value: Any, most: int = 60) -> str:
    """A value as text, cut with an ellipsis."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def statuses(arm: ArmView) -> str:
    """``20 error, 4 timeout`` of an arm; "" where all went well."""
    bad = sorted(((n, s) for s, n in arm.by_status.items() if s != "ok" and n), reverse=True)
    return ", ".join(f"{words.count(n)} {s}" for n, s in bad)
