"""The rollout machine: what follows from a rollout's state, its evidence and its versions' health.

Pure: it returns Decisions, a shell appends them and only then acts. A gate that fails is acted on
at once; going on needs evidence *for* it: enough candidate requests at this weight, the pause
passed on the evidence's own clock (closed buckets, never the wall's), and no gate that fails. So a
silent or dead metric neither promotes nor rolls back, and the same journal gives the same
decisions at any speed of reading.
"""

from __future__ import annotations

from typing import Any

from redpoll.rollout.evidence_records import ArmReading, GateReading, Reading
from redpoll.rollout.figures import duration, percent
from redpoll.rollout.machine_fold import decide
from redpoll.rollout.machine_state import (
    CHANGED,
    GATE,
    LOST,
    RESTARTS,
    SPLIT,
    STEP,
    Action,
    Health,
    ModelState,
    RolloutState,
)
from redpoll.rollout.plan import weight_of
from redpoll.views import amount

RESTART_BUDGET = 20  # crashes of the candidate since it began (or was resumed) that pause
# "No harm seen" up to here. A harmless version's evidence ever passes it in at most half of all
# rollouts (Ville), and what passes it is worth a look long before it fails a gate.
QUIET_EVIDENCE = 2.0
LOST_QUIET_US = 10_000_000  # without a loss, before a rollout that was paused for losses goes on
ILL_SHARE = 0.2  # of an arm's requests failing is no good state, whatever the other does
LOAD_GRACE_S = 5.0  # on top of `load`: the time in which control hears of it


def step(
    state: ModelState, reading: Reading | None, health: Health, now_us: int, salt: str = ""
) -> tuple[Action, ...]:
    """The Decisions that follow now; at most one, since each changes what follows.

    ``reading`` is the evidence (:class:`redpoll.rollout.evidence.Reading`) or None where there is
    none; ``salt`` is fresh randomness, used where a new epoch begins.
    """
    rollout = state.active
    if rollout is None:
        return ()
    if not rollout.begun:
        found = _begin(rollout, health, now_us, salt)
    else:
        found = (
            _changed(rollout, health, now_us, reading)
            or _split(rollout, reading, now_us)
            or _failed(rollout, reading, now_us)
            or _restarts(rollout, health, reading, now_us)
            or _lost(rollout, health, reading, now_us)
            or _advance(rollout, reading, now_us, salt)
        )
    return () if found is None else (found,)


def next_weight(rollout: RolloutState, weight: float, salt: str) -> dict[str, Any]:
    """The changes that put a weight in force.

    Weights only grow within an epoch; a smaller positive one begins a new epoch with a new salt.
    Weight 0 suspends: coming back at the former weight or more goes on as before.
    """
    if 0.0 < weight < rollout.top_weight:
        return {"weight": weight, "top_weight": weight, "epoch": rollout.epoch + 1, "salt": salt}
    return {"weight": weight, "top_weight": max(weight, rollout.top_weight)}


def enter(rollout: RolloutState, index: int, reading: Reading | None, salt: str) -> dict[str, Any]:
    """The changes that begin a step of the plan."""
    weight = weight_of(rollout.plan, index)
    changes = next_weight(rollout, weight, salt)
    base = at_weight(reading, weight) if "epoch" not in changes else 0
    return changes | {"step": index, "step_base": base}


def at_weight(reading: Reading | None, weight: float) -> int:
    """Candidate requests counted at a weight, in closed buckets."""
    return 0 if reading is None else int(reading.by_weight.get(weight, 0))


def step_requests(rollout: RolloutState, reading: Reading | None) -> int:
    """Candidate requests counted since the present step began."""
    return max(0, at_weight(reading, rollout.weight) - rollout.step_base)


def failing(rollout: RolloutState, reading: Reading | None) -> list[GateReading]:
    """The guardrails that fail and that nobody has accepted."""
    if reading is None or rollout.cause in (SPLIT, CHANGED):
        return []
    return [
        gate
        for gate in reading.gates
        if gate.kind == "guardrail" and gate.answer == "fail" and gate.metric not in rollout.waived
    ]


def seen(rollout: RolloutState, reading: Reading | None) -> str:
    """What the guardrails that have not failed say: ``no harm seen`` only where none has anything.

    Else ``no gate failed yet (error_rate evidence 8 of 40)``, with each of them that speaks.
    """
    gates = reading.gates if reading is not None else ()
    speaking = [
        f"{gate.metric} evidence {amount(gate.evidence)} of {amount(gate.limit)}"
        for gate in gates
        if gate.kind == "guardrail"
        and gate.evidence > QUIET_EVIDENCE
        and gate.metric not in rollout.waived
    ]
    if speaking:
        return f"no gate failed yet ({', '.join(speaking)})"
    arms = () if reading is None else (reading.candidate, reading.stable)
    if arms and all(ill(arm) for arm in arms):
        told = ", ".join(f"{arm.version} {arm.bad:,} of {arm.requests:,}" for arm in arms)
        return f"no gate failed yet (both fail: {told})"
    return "no harm seen"


def ill(arm: ArmReading) -> bool:
    """A fifth of its requests or more fail: to be no worse than that is no good news."""
    return arm.requests > 0 and arm.bad >= ILL_SHARE * arm.requests


def due(rollout: RolloutState, reading: Reading | None) -> bool:
    """Whether the present step has all it asks for, but for a person's word."""
    if reading is None or not rollout.begun or failing(rollout, reading):
        return False
    if step_requests(rollout, reading) < rollout.plan.min_requests:
        return False
    pause_us = int((rollout.plan.steps[rollout.step].pause_s or 0.0) * 1e6)
    if reading.last_closed_us < rollout.step_since_us + pause_us:
        return False
    if rollout.plan.advance_on != "pass":
        return True
    asked = [gate for gate in reading.gates if gate.metric not in rollout.waived]
    return all(gate.answer == "pass" for gate in asked)


def _begin(rollout: RolloutState, health: Health, now_us: int, salt: str) -> Action | None:
    if rollout.state != "pending":
        return None
    if health.ready:
        changes = enter(rollout, 0, None, salt)
        sentence = (
            f"{rollout.version} is ready and takes {percent(changes['weight'])};"
            f" {rollout.stable} keeps the rest."
        )
        return decide(rollout, "ready", "running", now_us, sentence, begun=True, **changes)
    waited_s = (now_us - max(rollout.load_from_us, health.since_us)) / 1e6
    if waited_s < health.load_s + LOAD_GRACE_S:
        return None
    why = health.detail or "it never said that it was ready"
    sentence = (
        f"{rollout.version} rolled back before it took traffic: not ready within"
        f" {duration(health.load_s)} (`load`); {why.rstrip('.')}. {rollout.stable} served"
        " everything throughout."
    )
    return decide(rollout, "rollback", "rolled_back", now_us, sentence)


def _changed(
    rollout: RolloutState, health: Health, now_us: int, reading: Reading | None
) -> Action | None:
    if health.changed is None or rollout.cause == CHANGED:
        return None
    sentence = (
        f"Paused at 0%: the fingerprint of {health.changed} changed while the rollout ran, so what"
        " was counted is about another program. The evidence is set aside; resume starts the plan"
        " anew."
    )
    return decide(
        rollout,
        "pause",
        "paused",
        now_us,
        sentence,
        reading=reading,
        cause=CHANGED,
        step=0,
        step_base=0,
        weight=0.0,
        evidence_set=rollout.evidence_set + 1,
    )


def _split(rollout: RolloutState, reading: Reading | None, now_us: int) -> Action | None:
    if reading is None or rollout.cause in (SPLIT, CHANGED):
        return None
    if reading.split_log_evidence < reading.split_log_limit:
        return None
    seen = reading.split_sentence or "The arms' counts do not fit the share that was drawn."
    sentence = (
        f"Paused at {percent(rollout.weight)}. {seen} Evidence 1,000; chance alone reaches that in at"
        " most 1 rollout of 1,000, so nothing that compares the arms can be trusted. Look for"
        " requests that are lost, repeated or moved on one side."
    )
    return decide(rollout, "pause", "paused", now_us, sentence, reading=reading, cause=SPLIT)


def _failed(rollout: RolloutState, reading: Reading | None, now_us: int) -> Action | None:
    failed = failing(rollout, reading)
    if not failed:
        return None
    why = " ".join(gate.sentence for gate in failed)
    if rollout.plan.on_fail == "pause":
        if rollout.cause == GATE:
            return None
        sentence = f"{rollout.version} paused at {percent(rollout.weight)}: {why}"
        return decide(rollout, "pause", "paused", now_us, sentence, reading=reading, cause=GATE)
    sentence = f"{rollout.version} rolled back to {rollout.stable}: {why}"
    return decide(rollout, "rollback", "rolled_back", now_us, sentence, reading=reading)


def _restarts(
    rollout: RolloutState, health: Health, reading: Reading | None, now_us: int
) -> Action | None:
    if rollout.state != "running" or health.crashes < RESTART_BUDGET:
        return None
    sentence = (
        f"{rollout.version} paused at {percent(rollout.weight)}: its workers crashed"
        f" {health.crashes} times since it took traffic."
    )
    return decide(rollout, "pause", "paused", now_us, sentence, reading=reading, cause=RESTARTS)


def _lost(
    rollout: RolloutState, health: Health, reading: Reading | None, now_us: int
) -> Action | None:
    """Paused while facts are lost; what is missing has no arm, so the gates stay on watch."""
    if rollout.state == "paused" and rollout.cause == LOST:
        if now_us - max(health.lost_us, rollout.since_us) < LOST_QUIET_US:
            return None
        sentence = (
            f"{rollout.version} goes on at {percent(rollout.weight)}: the journal takes all facts"
            " again."
        )
        return decide(rollout, "resume", "running", now_us, sentence, reading=reading)
    if rollout.state != "running" or not health.lost:
        return None
    sentence = (
        f"{rollout.version} paused at {percent(rollout.weight)}: {health.lost:,} facts could not be"
        " written to the journal and are lost. It goes on by itself once none are."
    )
    return decide(rollout, "pause", "paused", now_us, sentence, reading=reading, cause=LOST)


def _advance(
    rollout: RolloutState, reading: Reading | None, now_us: int, salt: str
) -> Action | None:
    if rollout.state != "running" or not due(rollout, reading):
        return None
    at = f"{percent(rollout.weight)} with {step_requests(rollout, reading):,} requests"
    told = seen(rollout, reading) if rollout.plan.advance_on != "pass" else "every gate passed"
    if rollout.plan.steps[rollout.step].pause_s is None:
        sentence = f"{rollout.version} waits for a person at {at}: {told}."
        return decide(rollout, "pause", "paused", now_us, sentence, reading=reading, cause=STEP)
    if rollout.step + 1 < len(rollout.plan.steps):
        changes = enter(rollout, rollout.step + 1, reading, salt)
        sentence = f"{rollout.version} goes to {percent(changes['weight'])}: {told} at {at}."
        return decide(rollout, "advance", "running", now_us, sentence, reading=reading, **changes)
    sentence = f"{rollout.version} promoted: {told} at {at}. It serves everything now."
    return decide(rollout, "promote", "promoted", now_us, sentence, reading=reading)
