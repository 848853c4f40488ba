"""What *Now* and the lists show: views of control turned into plain values for the templates.

No I/O of its own; each function reads control once and decides order, words and severity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from redpoll.errors import RedpollError, closest
from redpoll.views import ArmView, DecisionView, ModelView, Overview, RolloutView
from redpoll.web import words

if TYPE_CHECKING:
    from redpoll.control.service import Control

ACTIVE = ("pending", "running", "paused")
STATES = (*ACTIVE, "promoted", "rolled_back", "aborted", "superseded")
RECENT_S = 12 * 3600  # a rollback stays in *Now*'s first sentence for a night
DONE_S = 60  # that a page says what was done on it
NEWEST = 6


class Page(NamedTuple):
    """A template, what it shows, and the same as data for ``.json`` and ``.csv``."""

    template: str
    context: dict[str, Any]
    data: Any
    rows: Sequence[dict[str, Any]] = ()


class Asked(NamedTuple):
    """What the address says and who asks: may they see stderr? ``line``: requests/s of a model."""

    now_us: int
    query: Mapping[str, str]
    operator: bool = True
    line: Callable[[str], Sequence[float]] = lambda model: ()


def frame(title: str, here: str, overview: Overview) -> dict[str, Any]:
    """Gather what the frame of every page needs."""
    running = sum(1 for m in overview.models if m.rollout and m.rollout.state in ACTIVE)
    needs = sum(1 for m in overview.models if m.needs)
    return {
        "title": title,
        "here": here,
        "needs": needs,
        "calls": bool(needs),
        "running": running,
        "as_of_us": overview.as_of_us,
        "age_s": overview.age_s,
        "models": overview.models,
        "layout": "",
    }


def now(control: Control, asked: Asked) -> Page:
    """Answer *Now*: does anything need me."""
    overview = control.overview()
    rows = [_model_row(m, asked) for m in overview.models]
    needing = [row for row in rows if row["model"].needs]
    severity, sentence, look = _first_sentence(overview, needing, asked)
    quiet = [m.name for m in overview.models if not m.needs] if needing else []
    context = frame(_title(needing, sentence), "now", overview) | {
        "overview": overview,
        "severity": severity,
        "sentence": sentence,
        "look": look,
        "quiet": words.names(quiet) + (" needs" if len(quiet) == 1 else " need") + " nothing."
        if quiet
        else "",
        "rows": rows,
        "needing": needing,
        "decisions": overview.decisions[:NEWEST],
    }
    return Page("now.html", context, overview, [_model_data(m) for m in overview.models])


def _title(needing: Sequence[dict[str, Any]], sentence: str) -> str:
    count = len(needing)
    if not count:
        return sentence.rstrip(".")
    return f"{count} to look at: {sentence}" if count == 1 else f"{count} to look at"


def _first_sentence(
    overview: Overview, needing: Sequence[dict[str, Any]], asked: Asked
) -> tuple[str, str, str]:
    """Severity, sentence, rollout to look at: what needs a person, else the newest rollback, else calm."""
    if needing:
        ended = any(row["rollout"] and not row["active"] for row in needing)
        rollout = needing[0]["rollout"] if len(needing) == 1 else None
        look = rollout.id if rollout else ""
        return ("back" if ended else "warn"), overview.sentence, look
    if overview.facts_lost:
        return "warn", overview.sentence, ""
    fresh = [
        m.rollout
        for m in overview.models
        if m.rollout
        and m.rollout.state == "rolled_back"
        and asked.now_us - m.rollout.since_us < RECENT_S * words.SECOND_US
    ]
    if not fresh:
        return "calm", overview.sentence, ""
    newest = max(fresh, key=lambda r: r.since_us)
    when = words.clock(newest.since_us, asked.now_us)
    said = f"{newest.model} {newest.version} was rolled back at {when} UTC; nothing needs you."
    return "back", said, newest.id


def _model_row(model: ModelView, asked: Asked) -> dict[str, Any]:
    rollout = model.rollout
    active = rollout is not None and rollout.state in ACTIVE
    return {
        "model": model,
        "rollout": rollout,
        "active": active,
        "sentence": words.brief(model.sentence, rollout),
        "observed": rollout.observed_share if rollout and active else None,
        "history": asked.line(model.name),
    }


def _model_data(model: ModelView) -> dict[str, Any]:
    rollout = model.rollout
    return {
        "model": model.name,
        "live": model.live,
        "candidate": model.candidate,
        "weight": model.weight,
        "rollout": rollout.id if rollout else None,
        "state": rollout.state if rollout else None,
        "requests_per_second": model.requests_per_second,
        "error_rate": model.error_rate,
        "p95_ms": model.p95_ms,
        "unit_share": model.unit_share,
        "generation": model.generation,
        "sentence": model.sentence,
        "needs": model.needs,
    }


def rollouts(control: Control, asked: Asked) -> Page:
    """Every rollout of every model, newest first; ``?model=`` and ``?state=`` filter."""
    overview = control.overview()
    wanted_model, wanted_state = asked.query.get("model", ""), asked.query.get("state", "")
    if wanted_state and wanted_state not in STATES:
        raise RedpollError(
            "RP-101",
            f"state is {wanted_state[:40]!r}; it is one of {', '.join(STATES)}."
            + closest(wanted_state, STATES),
        )
    names = [wanted_model] if wanted_model else [m.name for m in overview.models]
    found = [r for name in names for r in control.rollouts(name)]
    found = [r for r in found if wanted_state in ("", r.state)]
    found.sort(key=lambda r: r.started_us, reverse=True)
    context = frame("Rollouts", "rollouts", overview) | {
        "rollouts": found,
        "wanted_model": wanted_model,
        "wanted_state": wanted_state,
        "states": STATES,
        "sentence": _listed(found, wanted_model),
    }
    return Page("rollouts.html", context, {"rollouts": found}, [_rollout_data(r) for r in found])


def _listed(found: Sequence[RolloutView], model: str) -> str:
    running = sum(1 for r in found if r.state in ACTIVE)
    of = f" of {model}" if model else ""
    if not found:
        return f"No rollout{of}."
    if not running:
        return f"No rollout{of} runs now; {words.count(len(found))} ended."
    return f"{words.count(running)} of {words.count(len(found))} rollouts{of} run now."


def _rollout_data(rollout: RolloutView) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "model": rollout.model,
        "version": rollout.version,
        "stable": rollout.stable,
        "strategy": rollout.strategy,
        "state": rollout.state,
        "weight": rollout.weight,
        "started": words.iso(rollout.started_us),
        "since": words.iso(rollout.since_us),
        "sentence": rollout.sentence,
    }


def model(control: Control, name: str, asked: Asked) -> Page:
    """One model: what is live, what changed, its versions."""
    overview = control.overview()
    view = control.model(name)
    decisions = control.decisions(name, limit=50)
    row = _model_row(view, asked)
    past, versions = control.rollouts(name), control.versions(name)
    context = frame(f"{view.name} {view.live or 'has no live version'}", "now", overview) | {
        "model": view,
        "row": row,
        "decisions": decisions,
        "rollouts": past[:10],
        "versions": versions,
        "back_rate": words.per_second(view.requests_per_second),
        "startable": [
            v["name"]
            for v in versions
            if v["name"] not in (view.live, view.candidate) and v["state"] != "retired"
        ],
        "operator": asked.operator,
        "done": done_of(decisions, asked),
    }
    rows = [decision_data(d) for d in decisions]
    return Page("model.html", context, {"model": view, "decisions": decisions}, rows)


def done_of(decisions: Sequence[DecisionView], asked: Asked) -> DecisionView | None:
    """What whoever comes from a form has just done; an old address says it no more."""
    wanted, since_us = asked.query.get("done"), asked.now_us - DONE_S * words.SECOND_US
    just = (d for d in decisions if d.decision_id == wanted and d.time_us >= since_us)
    return next(just, None)


def decision_data(decision: DecisionView) -> dict[str, Any]:
    """A Decision as a line of a CSV table."""
    return {
        "decision_id": decision.decision_id,
        "time": words.iso(decision.time_us),
        "model": decision.model,
        "subject": decision.subject_id,
        "action": decision.action,
        "from_state": decision.from_state,
        "to_state": decision.to_state,
        "actor": decision.actor,
        "reason": decision.reason,
        "sentence": decision.sentence,
    }


def statuses(arm: ArmView) -> str:
    """``20 error, 4 timeout`` of an arm; "" where all went well."""
    bad = sorted(((n, s) for s, n in arm.by_status.items() if s != "ok" and n), reverse=True)
    return ", ".join(f"{words.count(n)} {s}" for n, s in bad)
