"""Readings and states by hand, for tests of the pure machine."""

from __future__ import annotations

import math

from redpoll.catalog import Plan, Step
from redpoll.rollout import commands, machine
from redpoll.rollout.commands import Asked, Start
from redpoll.rollout.evidence_records import ArmReading, GateReading, Reading
from redpoll.rollout.machine_fold import fold
from redpoll.rollout.machine_state import Health, ModelState

T0 = 1_790_000_000_000_000
SECOND = 1_000_000
READY = Health(ready=True, load_s=60.0)
PLAN = Plan(
    steps=(Step(weight=0.1, pause_s=10.0), Step(weight=0.5, pause_s=10.0)), min_requests=100
)


VERSIONS = ("v1", "v2", "v3")


def asked(now_us: int = T0, reason: str | None = "because", **more) -> Asked:
    return Asked(actor="anna", reason=reason, now_us=now_us, salt="salt-by-hand", **more)


def reading(closed_us: int, counts: dict[float, int], **more) -> Reading:
    """Evidence with these candidate requests by weight. ``fails``, ``passes``: metrics.

    ``evidence``: e-values of metrics that neither fail nor pass.
    """
    fails, passes = more.pop("fails", ()), more.pop("passes", ())
    split, evidence = more.pop("split", 0.0), more.pop("evidence", {})
    total = sum(counts.values())
    gates = tuple(
        GateReading(
            metric=metric,
            kind=more.get("kind", "guardrail"),
            answer="fail" if metric in fails else "pass" if metric in passes else "undecided",
            log_evidence=math.log(913.0 if metric in fails else evidence.get(metric, 1.0)),
            log_limit=math.log(40.0),
            sentence=f"{metric} is worse." if metric in fails else f"{metric}: undecided.",
        )
        for metric in ("error_rate", "latency")
    )
    return Reading(
        rollout_id="churn-1",
        gates=gates,
        stable=ArmReading(arm="stable", version="v1", requests=9 * total),
        candidate=ArmReading(arm="candidate", version="v2", requests=total),
        requests=10 * total,
        candidate_requests=total,
        by_weight=counts,
        last_closed_us=closed_us,
        split_log_evidence=split,
    )


def take(state: ModelState, actions, at_us: int = T0) -> ModelState:
    for action in actions:
        state = fold(state, action.decision, at_us)
    return state


def live(version: str = "v1") -> ModelState:
    state = ModelState(name="churn")
    return take(state, commands.first_live(state, version, asked()))


def started(plan: Plan = PLAN, now_us: int = T0) -> ModelState:
    state = live()
    spec = Start(version="v2", plan=plan, salt="first-salt", cursors={"gateway-1": 17})
    return take(state, commands.start(state, spec, ["v1", "v2", "v3"], asked(now_us)), now_us)


def running(plan: Plan = PLAN, now_us: int = T0) -> ModelState:
    return step(started(plan, now_us), None, now_us)


def step(state: ModelState, seen: Reading | None, now_us: int, health: Health = READY):
    """The state after one step of the machine."""
    return take(state, machine.step(state, seen, health, now_us, f"salt-{now_us}"), now_us)


def tell(state: ModelState, name: str, now_us: int = T0, **more) -> ModelState:
    """The state after a command."""
    return take(state, commands.command(state, name, asked(now_us, **more)), now_us)
