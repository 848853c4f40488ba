"""What a person (or the file) may ask of a model's route, as pure functions to Decisions.

Each says RP-402 where it cannot be done, with what can be done instead; RP-403 where the reason is
missing. A reason is kept with the Decision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from redpoll.catalog import Plan, Record
from redpoll.errors import RedpollError, closest
from redpoll.facts import Decision
from redpoll.rollout.evidence_records import Reading
from redpoll.rollout.figures import percent
from redpoll.rollout.machine import enter
from redpoll.rollout.machine_fold import decide
from redpoll.rollout.machine_state import (
    CHANGED,
    GATE,
    PERSON,
    SPLIT,
    STEP,
    Action,
    Decide,
    ModelState,
    RolloutState,
)
from redpoll.rollout.plan import check
from redpoll.stats.latency import LatencyReference

NAMES = ("pause", "resume", "promote", "abort", "retry")


class Start(Record, frozen=True, kw_only=True):
    """What a rollout starts with. ``length`` in requests of both arms (plan.length)."""

    version: str
    plan: Plan
    salt: str
    unit: str = "request"
    plan_from: str = "catalog"  # catalog | given
    length: float = 0.0
    latency_reference: LatencyReference | None = None
    cursors: dict[str, int] = msgspec.field(default_factory=dict)


class Asked(Record, frozen=True, kw_only=True):
    """Who asks, why, and what was known at the time."""

    actor: str
    reason: str | None
    now_us: int
    salt: str = ""
    full: bool = False
    reading: Reading | None = None


def possible(state: ModelState, now_us: int) -> tuple[str, ...]:
    """What can be asked about the newest rollout now, of NAMES and ``rollback``."""
    rollout = state.rollout
    if rollout is None:
        return ()
    if rollout.active:
        found = ["resume" if rollout.state == "paused" else "pause"]
        if rollout.begun and rollout.cause != CHANGED:
            found.append("promote")
        return (*found, "abort")
    if rollout.state == "promoted":
        back = within_window(state, rollout.plan.rollback_window_s, now_us)
        return ("rollback",) if rollout.stable in back else ()
    return ("retry",) if rollout.version != state.live else ()


def start(
    state: ModelState, spec: Start, versions: Sequence[str], asked: Asked
) -> tuple[Action, ...]:
    """Begin a rollout; another one that runs is superseded."""
    check(spec.plan)
    known_version(state.name, spec.version, versions)
    if state.live is None:
        raise RedpollError(
            "RP-402",
            f"{state.name} has no live version to compare with; set `live` in the file and apply.",
        )
    if spec.version == state.live:
        raise RedpollError("RP-402", f"{spec.version} is live for {state.name} already.")
    number, now_us = state.rollouts + 1, asked.now_us
    actions: list[Action] = []
    if state.active is not None:
        old = state.active
        if old.version == spec.version:
            raise RedpollError(
                "RP-402",
                f"{old.id} is {old.state} with {old.version} already; abort it first to start anew.",
            )
        sentence = f"{old.version} gave way to {spec.version}: {state.name}-{number} starts."
        actions.append(
            decide(
                old,
                "supersede",
                "superseded",
                now_us,
                sentence,
                actor=asked.actor,
                reason=asked.reason,
                reading=asked.reading,
            )
        )
    evidence = msgspec.to_builtins(spec, str_keys=True)
    cursors = evidence.pop("cursors")
    evidence |= {"at_us": now_us, "stable": state.live, "step": 0, "weight": 0.0, "epoch": 0}
    decision = Decision(
        decision_id="",
        subject_kind="rollout",
        subject_id=f"{state.name}-{number}",
        action="start",
        to_state="pending",
        actor=asked.actor,
        reason=asked.reason,
        sentence=f"{spec.version} starts beside {state.live}; it takes traffic when it is ready.",
        evidence=json.dumps(evidence),
        cursors=json.dumps(cursors),
        spec_digest=spec.plan.digest(),
    )
    return (*actions, Decide(model=state.name, decision=decision))


def command(state: ModelState, name: str, asked: Asked) -> tuple[Action, ...]:
    """pause, resume, promote (``asked.full``: all the way) or abort the rollout that runs."""
    needs_reason(asked.reason)
    if name not in NAMES[:-1]:
        raise RedpollError(
            "RP-402",
            f"{name!r} is no command for a rollout; {', '.join(NAMES)} are." + closest(name, NAMES),
        )
    rollout = state.active
    if rollout is None:
        raise RedpollError("RP-402", _ended(state, asked.now_us))
    return (_COMMANDS[name](rollout, asked),)


def retry(
    state: ModelState, spec: Start, versions: Sequence[str], asked: Asked
) -> tuple[Action, ...]:
    """The newest rollout's version once more, as a new rollout: fresh evidence, fresh alpha."""
    needs_reason(asked.reason)
    old = state.rollout
    if old is None:
        raise RedpollError("RP-402", f"{state.name} had no rollout yet; start one.")
    if old.active or old.state == "promoted":
        raise RedpollError(
            "RP-402",
            f"{old.id} is {old.state}; only one that was rolled back, aborted or superseded can be"
            " tried again.",
        )
    begun = start(state, spec, versions, asked)
    sentence = (
        f"{old.version} is tried again as {state.name}-{state.rollouts + 1}: nothing counted in"
        f" {old.id} carries over, and the chance of a false rollback counts anew."
    )
    note = decide(
        old, "retry", old.state, asked.now_us, sentence, actor=asked.actor, reason=asked.reason
    )
    return (note, *begun)


def first_live(state: ModelState, version: str, asked: Asked) -> tuple[Action, ...]:
    """Make a version live without a rollout: a model's first apply."""
    if state.live is not None:
        raise RedpollError(
            "RP-402", f"{state.live} is live for {state.name}; another version needs a rollout."
        )
    sentence = f"{version} is live for {state.name}: its first version needs no rollout."
    return (_switch(state, "live", version, sentence, asked),)


def rollback(
    state: ModelState, to: str | None, versions: Sequence[str], window_s: float, asked: Asked
) -> tuple[Action, ...]:
    """Back to an earlier version at once: ends a running rollout, or undoes a promotion.

    RP-103 where ``to`` is none of the model's ``versions``.
    """
    needs_reason(asked.reason)
    if to is not None:
        known_version(state.name, to, versions)
    rollout, now_us = state.active, asked.now_us
    if rollout is not None and to in (None, rollout.stable):
        sentence = (
            f"{rollout.version} rolled back to {rollout.stable} by {asked.actor}: {asked.reason}"
        )
        return (
            decide(
                rollout,
                "rollback",
                "rolled_back",
                now_us,
                sentence,
                actor=asked.actor,
                reason=asked.reason,
                reading=asked.reading,
            ),
        )
    if rollout is not None:
        raise RedpollError(
            "RP-402", f"{rollout.id} is {rollout.state}; abort it before going back to {to}."
        )
    recent = tuple(name for name in within_window(state, window_s, now_us) if name in versions)
    version = to or (recent[0] if recent else None)
    if version is None or version not in recent:
        raise RedpollError("RP-402", _no_way_back(state, to, recent))
    sentence = f"{version} is live again instead of {state.live}, by {asked.actor}: {asked.reason}"
    return (_switch(state, "rollback", version, sentence, asked),)


def within_window(state: ModelState, window_s: float, now_us: int) -> tuple[str, ...]:
    """Versions that were live within the window, the latest first."""
    since = now_us - int(window_s * 1e6)
    found = [(until, name) for name, until in state.was_live.items() if until >= since]
    return tuple(name for _, name in sorted(found, reverse=True))


def needs_reason(reason: str | None) -> None:
    """RP-403 unless there is a reason of at least three characters."""
    if reason is None or len(reason.strip()) < 3:
        raise RedpollError(
            "RP-403", "A change wants a reason of at least three characters; it is kept."
        )


def known_version(model: str, version: str, versions: Sequence[str]) -> None:
    """RP-103 unless the model has that version."""
    if version not in versions:
        raise RedpollError(
            "RP-103",
            f"{model} has no version {version!r}; it has {', '.join(versions) or 'none'}."
            + closest(version, versions),
        )


def _pause(rollout: RolloutState, asked: Asked) -> Action:
    if rollout.state == "paused":
        raise RedpollError("RP-402", f"{rollout.id} is paused already: {rollout.sentence}")
    where = f"at {percent(rollout.weight)}" if rollout.begun else "before it took traffic"
    sentence = f"{rollout.version} paused {where} by {asked.actor}: {asked.reason}"
    return _ask(rollout, "pause", "paused", sentence, asked, cause=PERSON)


def _resume(rollout: RolloutState, asked: Asked) -> Action:
    if rollout.state != "paused":
        raise RedpollError("RP-402", f"{rollout.id} is {rollout.state}, not paused.")
    by = _by(asked)
    if not rollout.begun:
        return _ask(rollout, "resume", "pending", f"{rollout.version} goes on {by}", asked)
    if rollout.cause == STEP:
        return _promote(rollout, asked)
    changes: dict[str, Any] = {}
    note = ""
    if rollout.cause == GATE:
        failed = _accepted(rollout)
        changes["waived"] = _accepted(rollout)
        note = f" The failed gate ({', '.join(failed)}) does not act any more in this rollout."
    elif rollout.cause == SPLIT:
        changes |= {"salt": asked.salt, "epoch": rollout.epoch + 1, "step_base": 0}
        changes["evidence_set"] = rollout.evidence_set + 1
        note = " What was counted under the broken split is set aside."
    elif rollout.cause == CHANGED:
        changes = enter(rollout, 0, None, asked.salt)
        changes["step_base"] = 0
    weight = changes.get("weight", rollout.weight)
    sentence = f"{rollout.version} goes on at {percent(weight)} {by}{note}"
    return _ask(rollout, "resume", "running", sentence, asked, **changes)


def _accepted(rollout: RolloutState) -> tuple[str, ...]:
    """The gates whose failure paused the rollout, beside those that were accepted before."""
    gates = rollout.last.get("gates", []) if rollout.cause == GATE else []
    failed = [gate["metric"] for gate in gates if gate["answer"] == "fail"]
    return tuple(dict.fromkeys((*rollout.waived, *failed)))


def _promote(rollout: RolloutState, asked: Asked) -> Action:
    if not rollout.begun or rollout.cause == CHANGED:
        raise RedpollError(
            "RP-402",
            f"{rollout.version} takes no traffic yet, so there is nothing to promote; resume or"
            " wait until it is ready.",
        )
    by = _by(asked)
    if not asked.full and rollout.step + 1 < len(rollout.plan.steps):
        if rollout.cause == SPLIT:
            raise RedpollError(
                "RP-402",
                f"{rollout.id} is paused because its split is off; resume it first, or promote"
                " --full.",
            )
        changes = enter(rollout, rollout.step + 1, asked.reading, asked.salt)
        to = f"{percent(changes['weight'])} (step {rollout.step + 2} of {len(rollout.plan.steps)})"
        goes = "is resumed and goes" if _held(rollout) else "goes"
        sentence = f"{rollout.version} {goes} to {to} {by}{_despite(rollout)}"
        changes["waived"] = _accepted(rollout)
        return _ask(rollout, "advance", "running", sentence, asked, **changes)
    sentence = f"{rollout.version} promoted {by} It serves everything now.{_despite(rollout)}"
    return _ask(rollout, "promote", "promoted", sentence, asked)


def _held(rollout: RolloutState) -> bool:
    """Whether it is paused for another reason than that it waits for just this word."""
    return rollout.state == "paused" and rollout.cause != STEP


def _despite(rollout: RolloutState) -> str:
    """What a promotion out of a pause passes over: whoever reads it later must not have to look."""
    if not _held(rollout):
        return ""
    failed = _accepted(rollout) if rollout.cause == GATE else ()
    note = (
        f" The failed gate ({', '.join(failed)}) does not act any more in this rollout."
        if failed
        else ""
    )
    return f"{note} It was held: {_full_stop(rollout.sentence)}"


def _by(asked: Asked) -> str:
    """Who and why, ended as a sentence is, so that more can follow."""
    return _full_stop(f"by {asked.actor}: {asked.reason}")


def _full_stop(sentence: str) -> str:
    """With a full stop, unless it ends in something like it: what people typed stays as it is."""
    said = sentence.rstrip()
    return said if said.endswith((".", "!", "?", "…")) else f"{said}."


def _abort(rollout: RolloutState, asked: Asked) -> Action:
    sentence = f"{rollout.version} aborted {_by(asked)} {rollout.stable} serves everything."
    return _ask(rollout, "abort", "aborted", sentence, asked)


_COMMANDS = {"pause": _pause, "resume": _resume, "promote": _promote, "abort": _abort}


def _ask(
    rollout: RolloutState, action: str, to: str, sentence: str, asked: Asked, **changes: Any
) -> Action:
    return decide(
        rollout,
        action,
        to,
        asked.now_us,
        sentence,
        actor=asked.actor,
        reason=asked.reason,
        reading=asked.reading,
        **changes,
    )


def _switch(state: ModelState, action: str, version: str, sentence: str, asked: Asked) -> Action:
    decision = Decision(
        decision_id="",
        subject_kind="route",
        subject_id=state.name,
        action=action,
        from_state=state.live,
        to_state=version,
        actor=asked.actor,
        reason=asked.reason,
        sentence=sentence,
        evidence=json.dumps({"at_us": asked.now_us, "version": version}),
    )
    return Decide(model=state.name, decision=decision)


def _ended(state: ModelState, now_us: int) -> str:
    if state.rollout is None:
        return f"{state.name} has no rollout; start one with `redpoll rollout start`."
    return (
        f"{state.rollout.id} is {state.rollout.state} already. What can be done now:"
        f" {', '.join(possible(state, now_us)) or 'start another rollout'}."
    )


def _no_way_back(state: ModelState, to: str | None, recent: Sequence[str]) -> str:
    if to is not None and to == state.live:
        return f"{to} is live for {state.name} already."
    if to is not None:
        known = f" Possible: {', '.join(recent)}." if recent else ""
        return (
            f"{to} was not live for {state.name} within the rollback window; start a rollout to it."
            f"{known}"
        )
    return f"No version was live for {state.name} before {state.live or 'now'} within the window."
