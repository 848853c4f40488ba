"""The page on which a rollout is started: what was typed, what is wrong with it, what it would do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from redpoll import config
from redpoll.catalog import Gate, Plan
from redpoll.errors import RedpollError, closest
from redpoll.rollout import foresee
from redpoll.rollout.plan import check
from redpoll.views import ModelView
from redpoll.web import words
from redpoll.web.pages import ACTIVE, Asked, Page, frame

if TYPE_CHECKING:
    from redpoll.control.service import Control

ROWS_MAX = 12
SPARE = 1  # empty rows behind the steps
FIELDS = (
    "version", "reason", "generation", "weight", "pause", "min_requests", "advance_on", "on_fail",
)  # fmt: skip
CHOICES = {
    "advance_on": (("not_fail", "no gate failed"), ("pass", "every gate passed")),
    "on_fail": (("rollback", "roll back"), ("pause", "pause and wait for a person")),
}
_STEP = re.compile(r"steps\[(\d+)\]\.?(\w*)")


class Typed(NamedTuple):
    """The form as it was filled in; all of it text."""

    version: str = ""
    reason: str = ""
    generation: str = ""
    steps: tuple[tuple[str, str], ...] = ()  # weight, pause
    min_requests: str = ""
    advance_on: str = ""
    on_fail: str = ""


def typed_of(given: Sequence[tuple[str, str]]) -> Typed:
    """What came with a form or an address, in its order."""
    single = dict(given)
    weights = [value.strip()[:40] for key, value in given if key == "weight"]
    pauses = [value.strip()[:40] for key, value in given if key == "pause"]
    pauses += [""] * (len(weights) - len(pauses))
    return Typed(
        version=single.get("version", "")[:200],
        reason=single.get("reason", "")[:1000],
        generation=single.get("generation", ""),
        steps=tuple(zip(weights, pauses, strict=False)),
        min_requests=single.get("min_requests", "").strip()[:40],
        advance_on=single.get("advance_on", "")[:40],
        on_fail=single.get("on_fail", "")[:40],
    )


def filled(typed: Typed, plan: Plan) -> Typed:
    """What was not typed is as the model's plan has it."""
    own = tuple((_weight(s.weight), _duration(s.pause_s)) for s in plan.steps)
    return typed._replace(
        steps=typed.steps or own,
        min_requests=typed.min_requests or str(plan.min_requests),
        advance_on=typed.advance_on or plan.advance_on,
        on_fail=typed.on_fail or plan.on_fail,
    )


def plan_of(typed: Typed, base: Plan) -> Plan | None:
    """The plan that was typed; None where it is the model's own.

    Raises :class:`redpoll.config.ConfigError` with everything that is wrong, RP-402 where it cannot
    be carried out.
    """
    own = filled(Typed(), base)
    table: dict[str, Any] = {}
    steps = [step for step in typed.steps if step != ("", "")]
    if typed.steps and tuple(steps) != own.steps:
        table["steps"] = [
            ({"weight": _number(weight)} if weight else {}) | ({"pause": pause} if pause else {})
            for weight, pause in steps
        ]
    if typed.min_requests and typed.min_requests != own.min_requests:
        table["min_requests"] = _number(typed.min_requests.replace(",", ""))
    for key in ("advance_on", "on_fail"):
        value = getattr(typed, key)
        if value and value != getattr(own, key):
            table[key] = value
    if not table:
        return None
    plan = config.plan_from(table, base)
    check(plan)
    return None if plan == base else plan


def _number(text: str) -> Any:
    try:
        return int(text) if text.isdecimal() and text.isascii() else float(text)
    except ValueError:
        return text  # "10%", or nonsense that the configuration's own rules name


def _weight(fraction: float) -> str:
    return f"{fraction * 100:.6g}%"


def _duration(seconds: float | None) -> str:
    """Seconds as a configuration writes them: ``10m``, ``1h``, ``90s``, ``manual``."""
    if seconds is None:
        return "manual"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.15g}s"


class Said(NamedTuple):
    """One thing that is wrong: with the step (0 the first row) and field, or with the whole."""

    text: str
    row: int | None = None
    field: str = ""


def problems_of(error: RedpollError | None, typed: Typed) -> list[Said]:
    """What an error says about the form, each beside its field where it names one."""
    if error is None:
        return []
    found = getattr(error, "problems", ())
    if not found:
        return [Said(error.message)]
    rows = [i for i, step in enumerate(typed.steps) if step != ("", "")]
    said = []
    for one in found:
        step = _STEP.match(one.key)
        if step and int(step[1]) < len(rows):
            row = rows[int(step[1])]
            said.append(Said(f"Step {row + 1}: {one.message}.", row, step[2] or "weight"))
        else:
            said.append(Said(f"{one.key}: {one.message}.", None, one.key))
    return said


def _unknown(
    view: ModelView, version: str, names: Sequence[str], all_names: Sequence[str]
) -> RedpollError | None:
    """Why a version that an address names cannot be started; None where it can."""
    if not version or version in names:
        return None
    if version == view.live:
        return RedpollError("RP-402", f"{version} is live for {view.name} already.")
    if version in all_names and view.rollout:
        return RedpollError(
            "RP-402", f"{view.rollout.id} runs {version} already; abort it first to start anew."
        )
    return RedpollError(
        "RP-103", f"{view.name} has no version {version!r}.{closest(version, names)}"
    )


class Ahead(NamedTuple):
    """One step of the preview, in words."""

    weight: float
    when: str
    then: str


def preview(view: ModelView, version: str, plan: Plan) -> dict[str, Any]:
    """What starting ``version`` with this plan would do, at the traffic of the last minute."""
    rate = view.requests_per_second
    ahead = foresee.stages(plan, rate)
    running = view.rollout if view.rollout and view.rollout.state in ACTIVE else None
    first = ahead[0].weight
    consequence = (
        f"{words.share(first)} of traffic, {words.per_second(rate * first)}, goes to {version} as "
        f"soon as it is ready; {view.live} keeps the rest."
    )
    if running:
        consequence += f" {running.id} ends: {running.version} gives way and takes no more traffic."
    return {
        "version": version,
        "verb": f"Start: {words.share(first)}, {words.per_second(rate * first)}, go to {version}",
        "consequence": consequence,
        "steps": [_ahead(stage, plan.min_requests) for stage in ahead],
        "total": _total(ahead),
        "gates": [_gate(gate, version, view.live or "", plan) for gate in plan.gates],
        "catches": _catches(view, plan, ahead, version),
        "unit": view.unit,
        "bound": f"A version that is no worse is stopped in at most 1 rollout of {1 / plan.alpha:.3g},"
        " however long it runs.",
        "after": f"After that {view.live} stays warm for {words.about(plan.keep_warm_s)}, and can be "
        f"gone back to for {words.about(plan.rollback_window_s)}.",
    }


def _ahead(stage: foresee.Stage, least: int) -> Ahead:
    wanted = f"{words.count(least)} requests"
    if stage.pause_s is None:
        return Ahead(stage.weight, "until a person says", f"after {wanted}")
    pause = f"{words.about(stage.pause_s)} and {wanted}" if stage.pause_s else wanted
    about = "no traffic now" if stage.seconds is None else f"about {words.about(stage.seconds)}"
    return Ahead(stage.weight, about, f"at least {pause}")


def _total(ahead: Sequence[foresee.Stage]) -> str:
    if any(stage.seconds is None for stage in ahead):
        return "No request came in the last minute, so nobody can say how long it takes."
    manual = sum(stage.pause_s is None for stage in ahead)
    waits = f", and {manual} wait for a person" if manual > 1 else ""
    waits = ", and one waits for a person" if manual == 1 else waits
    total = sum(stage.seconds or 0.0 for stage in ahead)
    return f"About {words.about(total)} to 100% at the traffic of the last minute{waits}."


def _gate(gate: Gate, version: str, live: str, plan: Plan) -> tuple[str, str]:
    """A gate's name, and what it watches."""
    act = "rolls back" if plan.on_fail == "rollback" else "pauses"
    if gate.metric == "latency":
        more = "slower" if (gate.margin_ratio or 1) <= 1 else f"{_more(gate.margin_ratio)} slower"
    elif gate.margin_ratio is not None and gate.margin_ratio > 1:
        more = f"failing {_more(gate.margin_ratio)} often"
    elif gate.margin:
        more = f"failing more often by {gate.margin * 100:.3g} points"
    else:
        more = "failing more often"
    return gate.metric, f"{act} when {version} is proven to be {more} than {live}"


def _more(ratio: float | None) -> str:
    return f"more than {((ratio or 1) - 1) * 100:.3g}%"


def _catches(
    view: ModelView, plan: Plan, ahead: Sequence[foresee.Stage], version: str
) -> list[tuple[str, str]]:
    """Harm, and when the gate on errors would have seen it; [] where that cannot be said."""
    if not any(g.metric == "error_rate" for g in plan.gates):
        return []
    by_unit = view.unit != "request"
    usual = view.error_rate or 0.0
    harms = [("every request fails", 1.0)]
    harms += [(f"1 of {n} fails", 1 / n) for n in (10, 100) if usual * 4 < 1 / n]
    if usual:
        said = f"twice the errors, {words.rate(usual)} to {words.rate(min(2 * usual, 1.0))}"
        harms.append((said, min(2 * usual, 1.0)))
    found = []
    for name, rate in harms:
        seen = foresee.caught(plan, ahead, usual, rate, by_unit=by_unit)
        if seen is None:
            found.append((name, "likely not seen before 100%"))
            continue
        when = f", {words.about(seen.seconds)}" if seen.seconds is not None else ""
        of = f"{view.unit}s" if by_unit else "requests"
        at = words.share(ahead[seen.step].weight)
        some = words.count(_two_figures(seen.requests))
        found.append((name, f"seen after about {some} {of} on {version}{when}, at {at}"))
    return found


def _two_figures(number: float) -> float:
    return float(f"{max(number, 1.0):.2g}")


def start(
    control: Control,
    name: str,
    asked: Asked,
    typed: Typed,
    error: RedpollError | None = None,
) -> Page:
    """The form over a model, with what was typed, and the preview of it."""
    view = control.model(name)
    base = control.route(name).model.rollout
    offered = [row for row in control.versions(name) if row.get("state") != "retired"]
    all_names = [str(row["name"]) for row in offered]
    names = [one for one in all_names if one not in (view.live, view.candidate)]
    typed = filled(typed, base)
    chosen = typed.version or (names[-1] if names else "")
    ahead = None
    problem = error or _unknown(view, typed.version, names, all_names)
    try:
        plan = plan_of(typed, base) or base
        if chosen in names and view.live:
            ahead = preview(view, chosen, plan)
    except RedpollError as wrong:
        problem = problem or wrong
    rows = [*typed.steps, *[("", "")] * SPARE][:ROWS_MAX]
    said = problems_of(problem, typed)
    past = next((one for one in control.rollouts(name) if one.version == chosen), None)
    context = frame(f"Start a rollout of {name}", "rollouts", control.overview()) | {
        "frozen": True,  # no live parts: nothing moves under a form
        "model": view,
        "versions": names,
        "chosen": chosen,
        "form": typed,
        "rows": rows,
        "choices": CHOICES,
        "said": said,
        "marked": {(one.row, one.field) for one in said},
        "code": problem.code if problem else "",
        "ahead": ahead,
        "past": past if past and past.state in ("rolled_back", "aborted") else None,
        "operator": asked.operator,
    }
    data = {"model": name, "version": chosen, "plan": None if problem else plan, "preview": ahead,
            "problems": [one.text for one in said], "generation": view.generation}  # fmt: skip
    return Page("start.html", context, data)
