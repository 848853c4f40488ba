"""What the rollout's page shows, now or as it stood at one of its Decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from redpoll.errors import RedpollError
from redpoll.views import DecisionView, EvidencePoint, GateView, Overview, RolloutView, StepView
from redpoll.web import charts, failing, words
from redpoll.web.pages import ACTIVE, Asked, Page, decision_data, done_of, frame

if TYPE_CHECKING:
    from redpoll.control.service import Control

FAILURES = 8  # looked through for what they have in common
SHOWN = 3
STDERR_LINES = 40
DECISIONS = 100
SHORT_US = 120_000_000  # of a step: then how long it took says more than its minutes
AHEAD = 4  # the time axis reaches at most so many times as far as the rollout got


def rollout(control: Control, name: str, asked: Asked) -> Page:
    """*Rollout*: is it safe, and what next? ``?at=`` a Decision's id freezes the page there."""
    overview = control.overview()
    view = control.rollout(name)
    decisions = control.decisions(view.id, limit=DECISIONS)
    curve = control.curve(view.id)
    frozen = _frozen(view, decisions, asked.query.get("at"))
    if frozen:
        view = as_decided(view, frozen)
        decisions = tuple(d for d in decisions if d.time_us <= frozen.time_us)
        curve = tuple(p for p in curve if p.time_us <= frozen.time_us)
    view = dated(view, decisions)
    ended = view.state not in ACTIVE
    mark = words.state(view)
    since = f" {words.clock(view.since_us, asked.now_us)}" if ended else ""
    context = frame(f"{view.model} {view.version} {mark.word}{since}", "rollouts", overview)
    context |= {
        "rollout": view,
        "mark": mark,
        "severity": words.severity(view),
        "ended": ended,
        "layout": "night" if view.state == "rolled_back" else "day",
        "arms": view.arms,
        "worst": _worst(view),
        "behind": sum(1 for g in view.gateways.values() if g < view.generation),
        "bound": _bound(view),
        "causes": [_cause(said) for said in view.shared_causes],
        "steps": _steps(view, asked.now_us),
        "charts": _charts(view, curve, asked.now_us),
        "evidence_age_s": (asked.now_us - view.as_of_us) / 1e6 if view.as_of_us else None,
        "decisions": decisions,
        "frozen": frozen,
        "last": decisions[0] if decisions else None,
        "done": done_of(decisions, asked),
        "newer": _newer(overview, view),
        "buttons": [] if frozen else words.buttons(view, _per_second(control, view)),
    }
    if frozen:
        context |= {"as_of_us": frozen.time_us, "age_s": (asked.now_us - frozen.time_us) / 1e6}
    context |= _failing(control, view, asked, frozen is not None)
    data = {"rollout": view, "decisions": decisions, "curve": curve,
            "failures": context["failures"]}  # fmt: skip
    return Page("rollout.html", context, data, [decision_data(d) for d in decisions])


def _frozen(
    view: RolloutView, decisions: Sequence[DecisionView], at: str | None
) -> DecisionView | None:
    if not at:
        return None
    for decision in decisions:
        if decision.decision_id == at:
            return decision
    raise RedpollError(
        "RP-104",
        f"{view.id} has no decision {at[:60]!r}; the link may have been cut; open "
        f"/rollouts/{view.id} for all its decisions.",
    )


def as_decided(view: RolloutView, decision: DecisionView) -> RolloutView:
    """Put a rollout back to a Decision: what that one recorded, and nothing newer."""
    said = decision.evidence
    gates = tuple(_gate(view, g) for g in said.get("gates") or ())
    step = int(said.get("step") or 0)
    return msgspec.structs.replace(
        view,
        state=decision.to_state or view.state,
        step=step,
        weight=float(said.get("weight") or 0.0),
        sentence=decision.sentence,
        next_sentence="",
        gates=gates,
        steps=tuple(_step_then(s, i, step) for i, s in enumerate(view.steps)),
        arms=(),
        actions=(),
        shared_causes=(),
        observed_share=None,
        observed_requests=0,
        gateways={},
        since_us=decision.time_us,
        as_of_us=int(said.get("last_closed_us") or 0),
        spec_digest=decision.spec_digest or view.spec_digest,
    )


def dated(view: RolloutView, decisions: Sequence[DecisionView]) -> RolloutView:
    """Fill in from the Decisions when each step began, and when ended evidence was last counted."""
    begun: dict[int, int] = {}
    for decision in reversed(decisions):
        step, weight = decision.evidence.get("step"), decision.evidence.get("weight")
        if isinstance(step, int) and weight:
            begun.setdefault(step, decision.time_us)
    steps = tuple(
        msgspec.structs.replace(s, since_us=s.since_us or begun.get(i)) if s.state != "next" else s
        for i, s in enumerate(view.steps)
    )
    as_of = view.as_of_us
    if view.state not in ACTIVE and decisions:
        counted = [d.evidence.get("last_closed_us") for d in decisions]
        as_of = next((int(c) for c in counted if c), 0)
    return msgspec.structs.replace(view, steps=steps, as_of_us=as_of)


def _gate(view: RolloutView, said: dict[str, Any]) -> GateView:
    """A gate of a Decision's evidence; what it does not say is taken from today's gate."""
    today = next((g for g in view.gates if g.metric == said.get("metric")), None)
    base = {"metric": "?", "kind": "guardrail", "answer": "undecided", "evidence": 1.0,
            "limit": today.limit if today else 1.0, "sentence": ""}  # fmt: skip
    return msgspec.convert(base | said, GateView, strict=False)


def _step_then(step: StepView, index: int, at: int) -> StepView:
    state = "done" if index < at else "now" if index == at else "next"
    since = step.since_us if index <= at else None
    return msgspec.structs.replace(step, state=state, since_us=since, requests=0)


def _failing(control: Control, view: RolloutView, asked: Asked, frozen: bool) -> dict[str, Any]:
    """Failing requests and the worker's stderr, which a frozen page leaves out: it has no times."""
    failures = control.failures(view.id, limit=FAILURES)
    if frozen:
        failures = tuple(f for f in failures if f.time_us <= view.since_us)
    stderr = ""
    if failures and asked.operator and not frozen:
        stderr = control.worker_stderr(view.model, view.version, STDERR_LINES)
    bad = max(view.arms[1].bad if len(view.arms) > 1 else 0, len(failures))
    return {
        "failures": failures,
        "failures_title": failing.title(min(len(failures), SHOWN), bad, view.stable),
        "shared_columns": failing.shared(failures),
        "stderr": stderr,
        "last_words": failing.last_words(stderr),
        "operator": asked.operator,
    }


def _per_second(control: Control, view: RolloutView) -> float:
    lately = control.model(view.model).requests_per_second
    return lately or sum(arm.requests_per_second for arm in view.arms)


def _newer(overview: Overview, view: RolloutView) -> str:
    """Name the model's newest rollout where it is another one."""
    newest = next((m.rollout for m in overview.models if m.name == view.model), None)
    return newest.id if newest and newest.id != view.id else ""


def _worst(view: RolloutView) -> GateView | None:
    """Choose the gate that a reader wants first: one that failed, else the nearest to its limit."""
    if not view.gates:
        return None
    return max(view.gates, key=lambda g: (g.answer == "fail", g.evidence / max(g.limit, 1e-9)))


def _bound(view: RolloutView) -> str:
    alpha = view.plan.get("alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha < 1:
        return ""
    return f"no more than 1 false rollback in {1 / alpha:.3g}, over all gates, for ever"


def _cause(said: str) -> tuple[str, str]:
    """``Restarts: none.`` as a name and what is said of it."""
    head, colon, rest = said.partition(": ")
    return (head, rest) if colon and len(head) <= 16 else ("", said)


class ShownStep(NamedTuple):
    """One step as the page writes it."""

    weight: float
    css: str
    when: str
    then: str


def _steps(view: RolloutView, now_us: int) -> list[ShownStep]:
    shown = []
    ended = view.state not in ACTIVE
    for i, step in enumerate(view.steps):
        after = [s.since_us for s in view.steps[i + 1 :] if s.since_us is not None]
        began = words.clock(step.since_us, now_us)[:-3] if step.since_us is not None else ""
        on = f"{words.count(step.requests)} on {view.version}" if step.requests else ""
        if step.state == "next" or not began:
            pause = "until a person says" if step.pause_s is None else words.about(step.pause_s)
            shown.append(ShownStep(step.weight, "", "not reached" if ended else pause, ""))
        elif step.state == "now" and not ended:
            lasted = words.duration((now_us - (step.since_us or now_us)) / 1e6)
            shown.append(ShownStep(step.weight, "at", f"since {began}, {lasted}", on))
        else:
            until_us = after[0] if after else view.since_us
            when = f"{began} to {words.clock(until_us, now_us)[:-3]}"
            if until_us - (step.since_us or 0) < SHORT_US:
                when = f"{words.duration((until_us - (step.since_us or 0)) / 1e6)} from {began}"
            shown.append(ShownStep(step.weight, "done", when, on))
    if not view.steps or view.steps[-1].weight < 1:
        warm = view.plan.get("keep_warm_s")
        kept = (
            f"{view.stable} warm for {words.about(warm)}" if isinstance(warm, int | float) else ""
        )
        if view.state == "promoted":
            when = f"since {words.clock(view.since_us, now_us)[:-3]}"
            shown.append(ShownStep(1.0, "at", when, kept))
        else:
            shown.append(ShownStep(1.0, "", "not reached" if ended else "promoted", kept))
    return shown


def _charts(view: RolloutView, curve: Sequence[EvidencePoint], now_us: int) -> list[dict[str, Any]]:
    ended = view.state not in ACTIVE
    consequence = "pauses" if view.plan.get("on_fail") == "pause" else "rolls back"
    found = []
    for gate in view.gates:
        points = [p for p in curve if p.metric == gate.metric]
        start = min([view.started_us, *(p.time_us for p in points)])
        reached = max([view.since_us if ended else now_us, *(p.time_us for p in points)])
        bands = _bands(view, reached, ended)
        planned = bands[-1].end_us if bands and not ended else reached
        if not ended:  # room for the words beside the last point
            planned = max(planned, start + round(1.35 * (reached - start)))
        end = max(min(planned, start + AHEAD * (reached - start)), reached, start + 1)
        path = charts.Path(
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
        found.append({"gate": gate, "svg": charts.evidence_path(path)})
    return found


def _bands(view: RolloutView, reached_us: int, ended: bool) -> list[charts.Band]:
    """Steps on the time axis: those begun, and, while it runs, those planned by their pauses."""
    bands: list[charts.Band] = []
    begun = [s for s in view.steps if s.since_us is not None]
    for i, step in enumerate(begun):
        following = begun[i + 1].since_us if i + 1 < len(begun) else None
        began = step.since_us or 0
        stop = following or reached_us
        if following is None and not ended:
            stop = max(reached_us, began + round((step.pause_s or 0) * 1e6))
        bands.append(charts.Band(began, stop, words.share(step.weight)))
    if ended or not bands:
        return bands
    for step in view.steps[len(begun) :]:
        if step.pause_s is None:
            break
        start = bands[-1].end_us
        label = f"{words.share(step.weight)} planned"
        bands.append(charts.Band(start, start + round(step.pause_s * 1e6), label))
    return bands
