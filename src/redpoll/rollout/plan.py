"""What a plan says: weights, lengths, and what no plan may say."""

from __future__ import annotations

from redpoll.catalog import Plan
from redpoll.errors import RedpollError
from redpoll.rollout.evidence import Evidence
from redpoll.rollout.evidence_records import EvidenceSpec, gate_specs
from redpoll.rollout.figures import percent
from redpoll.rollout.machine_state import RolloutState


def check(plan: Plan) -> None:
    """Raise RP-402 where a plan cannot be carried out as it stands."""
    if plan.strategy != "canary":
        raise RedpollError(
            "RP-402", f'The strategy {plan.strategy!r} is not built yet; write strategy = "canary".'
        )
    if not plan.steps:
        raise RedpollError("RP-402", "The plan has no steps; write at least one weight.")
    for step in plan.steps:
        if not 0.0 < step.weight < 1.0:
            raise RedpollError(
                "RP-402",
                f"A step of {percent(step.weight)} cannot be judged: both arms need requests. Leave"
                " it out; after the last step the candidate takes everything.",
            )
    if plan.on_fail not in ("rollback", "pause"):
        raise RedpollError(
            "RP-402", f'on_fail = {plan.on_fail!r} is not built yet; write "rollback" or "pause".'
        )
    if not 0.0 < plan.max_weight <= 1.0 or not 0.0 < plan.alpha < 1.0 or plan.min_requests < 1:
        raise RedpollError(
            "RP-402",
            "max_weight must be above 0 and at most 1, alpha between 0 and 1, min_requests at"
            " least 1.",
        )
    Evidence.start(EvidenceSpec(rollout_id="", gates=gate_specs(plan)))  # gates not built yet


def weight_of(plan: Plan, step: int) -> float:
    """The weight of a step, never above ``max_weight``."""
    return min(plan.steps[step].weight, plan.max_weight)


def length(plan: Plan, requests_per_second: float) -> float:
    """How many requests of both arms the plan asks for: Σ max(min_requests / w, pause × rate).

    It times the late starts of tests by unit (design.md §6); manual pauses count as none.
    """
    total = 0.0
    for index, step in enumerate(plan.steps):
        wanted = plan.min_requests / weight_of(plan, index)
        total += max(wanted, (step.pause_s or 0.0) * requests_per_second)
    return total


def spec_of(rollout: RolloutState) -> EvidenceSpec:
    """What a rollout's evidence depends on, all of it from the Decision that started it."""
    return EvidenceSpec(
        rollout_id=rollout.id,
        model=rollout.model,
        stable=rollout.stable,
        candidate=rollout.version,
        unit=rollout.unit,
        gates=gate_specs(rollout.plan),
        length=rollout.length,
        latency_reference=rollout.latency_reference,
        since_generation=rollout.evidence_generation,
    )
