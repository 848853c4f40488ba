"""A model's state is a fold of its Decisions: this is the fold, and the Decisions' one builder.

Every Decision about a rollout carries in its evidence the whole of what changes (step, weight,
salt, epoch, cause, …), so that folding needs no rule of its own: whoever decided has decided.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from redpoll.catalog import Plan
from redpoll.facts import Decision
from redpoll.rollout import evidence_records as records
from redpoll.rollout.evidence_records import Reading
from redpoll.rollout.machine_state import (
    CHANGED,
    ENDED_KEPT,
    LINGER_US,
    Decide,
    ModelState,
    RolloutState,
)
from redpoll.stats.latency import LatencyReference

replace = msgspec.structs.replace

# What a Decision's evidence may set on the rollout as it stands.
_SET = ("step", "weight", "top_weight", "salt", "epoch", "cause", "begun", "step_base")


def fold(state: ModelState, decision: Decision, time_us: int) -> ModelState:
    """The state after a Decision about this model.

    One that does not fit changes nothing but the generation. ``time_us`` is the Decision's time,
    unless its evidence names one (``at_us``).
    """
    evidence = read_evidence(decision)
    at = int(evidence.get("at_us", time_us))
    state = replace(state, generation=state.generation + 1)
    if decision.subject_kind == "route":
        return _route(state, decision, evidence, at)
    if decision.subject_kind != "rollout":
        return state
    if decision.action == "start":
        return _start(state, decision, evidence, at)
    rollout = state.active
    if rollout is None or rollout.id != decision.subject_id or decision.action == "retry":
        return state
    return _settle(state, _change(state, rollout, decision, evidence, at), at)


def fold_all(name: str, decisions: Iterable[tuple[Decision, int]]) -> ModelState:
    """A model's state from all its Decisions with their times, oldest first."""
    state = ModelState(name=name)
    for decision, time_us in decisions:
        state = fold(state, decision, time_us)
    return state


def read_evidence(decision: Decision) -> dict[str, Any]:
    """The evidence of a Decision as an object; empty where it is none."""
    try:
        found = json.loads(decision.evidence)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _route(state: ModelState, decision: Decision, evidence: dict[str, Any], at: int) -> ModelState:
    version = evidence.get("version") or decision.to_state
    if not isinstance(version, str) or version == state.live:
        return state
    left, rollout = state.live, state.rollout
    was_live = {name: until for name, until in state.was_live.items() if name != version}
    warm = {name: until for name, until in state.warm.items() if name != version}
    if left is not None:
        warm[left] = at + LINGER_US
        if decision.action != "rollback":  # what was rolled back has to earn its place again
            was_live[left] = at
    if (
        decision.action == "rollback"
        and rollout is not None
        and rollout.state == "promoted"
        and rollout.version == left
    ):
        rollout = replace(rollout, state="rolled_back", since_us=at, sentence=decision.sentence)
    return replace(state, live=version, since_us=at, was_live=was_live, warm=warm, rollout=rollout)


def _start(state: ModelState, decision: Decision, evidence: dict[str, Any], at: int) -> ModelState:
    try:
        plan = msgspec.convert(evidence["plan"], Plan)
        version, stable = str(evidence["version"]), str(evidence["stable"])
        reference = msgspec.convert(
            evidence.get("latency_reference"), LatencyReference | None, str_keys=True
        )
    except (KeyError, msgspec.ValidationError):
        return state
    rollout = RolloutState(
        id=decision.subject_id,
        model=state.name,
        version=version,
        stable=stable,
        plan=plan,
        spec_digest=decision.spec_digest or plan.digest(),
        unit=evidence.get("unit", "request"),
        plan_from=evidence.get("plan_from", "catalog"),
        length=float(evidence.get("length", 0.0)),
        latency_reference=reference,
        cursors=json.loads(decision.cursors),
        actor=decision.actor,
        reason=decision.reason,
        salt=str(evidence.get("salt", "")),
        started_us=at,
        load_from_us=at,
        since_us=at,
        step_since_us=at,
        running_since_us=at,
        evidence_since_us=at,
        evidence_generation=state.generation,
        sentence=decision.sentence,
        step_generation=state.generation,
    )
    ended = state.ended
    if state.rollout is not None:
        ended = (*ended, state.rollout)[-ENDED_KEPT:]
    warm = {name: until for name, until in state.warm.items() if name != version}
    return replace(state, rollout=rollout, ended=ended, rollouts=state.rollouts + 1, warm=warm)


def _change(
    state: ModelState,
    rollout: RolloutState,
    decision: Decision,
    evidence: dict[str, Any],
    at: int,
) -> RolloutState:
    changes: dict[str, Any] = {key: evidence[key] for key in _SET if key in evidence}
    to_state = decision.to_state or rollout.state
    changes |= {"state": to_state, "sentence": decision.sentence, "last": evidence}
    changes["waived"] = tuple(evidence.get("waived", rollout.waived))
    if to_state != rollout.state:
        changes["since_us"] = at
    now_at = (changes.get("step", rollout.step), changes.get("weight", rollout.weight))
    if now_at != (rollout.step, rollout.weight):
        changes |= {"step_since_us": at, "step_generation": state.generation}
    if decision.action == "ready" or (decision.action == "resume" and rollout.cause == CHANGED):
        changes["evidence_since_us"] = at  # a change before the first request changes nothing
    if decision.action in ("ready", "resume"):
        changes["running_since_us"] = at
        if not changes.get("begun", rollout.begun):
            changes["load_from_us"] = at
    if int(evidence.get("evidence_set", rollout.evidence_set)) > rollout.evidence_set:
        changes |= {
            "evidence_set": int(evidence["evidence_set"]),
            "evidence_since_us": at,
            "evidence_generation": state.generation,
            "step_since_us": at,
            "step_generation": state.generation,
        }
    if to_state not in ("pending", "running", "paused"):
        changes |= {"ended_us": at, "weight": 0.0}
    return replace(rollout, **changes)


def _settle(state: ModelState, rollout: RolloutState, at: int) -> ModelState:
    """What the end of a rollout means for the route."""
    state = replace(state, rollout=rollout)
    if rollout.active:
        return state
    warm = dict(state.warm)
    if rollout.state != "promoted":
        warm[rollout.version] = at + LINGER_US
        return replace(state, warm=warm)
    warm.pop(rollout.version, None)
    warm[rollout.stable] = at + max(LINGER_US, int(rollout.plan.keep_warm_s * 1e6))
    was_live = {k: v for k, v in state.was_live.items() if k != rollout.version}
    was_live[rollout.stable] = at
    return replace(state, live=rollout.version, since_us=at, warm=warm, was_live=was_live)


def decide(
    rollout: RolloutState,
    action: str,
    to_state: str,
    now_us: int,
    sentence: str,
    *,
    actor: str = "redpoll",
    reason: str | None = None,
    reading: Reading | None = None,
    **changes: Any,
) -> Decide:
    """A Decision about this rollout. ``changes`` are fields that it sets (step, weight, …)."""
    evidence: dict[str, Any] = {"at_us": now_us}
    evidence |= {key: changes.get(key, getattr(rollout, key)) for key in _SET}
    evidence["waived"] = list(changes.get("waived", rollout.waived))
    evidence["evidence_set"] = changes.get("evidence_set", rollout.evidence_set)
    if to_state != "paused":
        evidence["cause"] = None
    evidence |= summary(reading)
    decision = Decision(
        decision_id="",
        subject_kind="rollout",
        subject_id=rollout.id,
        action=action,
        from_state=rollout.state,
        to_state=to_state,
        actor=actor,
        reason=reason,
        sentence=sentence,
        evidence=json.dumps(evidence),
        spec_digest=rollout.spec_digest,
    )
    return Decide(model=rollout.model, decision=decision)


def summary(reading: Reading | None) -> dict[str, Any]:
    """What a Decision keeps of the evidence it was made on."""
    if reading is None:
        return {}
    gates = [
        {
            "metric": gate.metric,
            "answer": gate.answer,
            "evidence": plain(gate.log_evidence),
            "limit": plain(gate.log_limit),
            "sentence": gate.sentence,
        }
        for gate in reading.gates
    ]
    return {
        "gates": gates,
        "last_closed_us": reading.last_closed_us,
        "known_us": reading.known_us,
        "candidate_requests": reading.candidate_requests,
    }


def plain(log_value: float) -> float:
    """An e-value from its logarithm, to six digits, never infinite."""
    return float(f"{records.plain(log_value):.6g}")
