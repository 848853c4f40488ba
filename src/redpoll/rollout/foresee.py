"""What a plan would do before it is started: how long its steps take, and how soon it would see harm.

Expectations, for sentences; they decide nothing. The bets are those of the gate that would judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from redpoll.catalog import Plan
from redpoll.rollout.evidence_records import GateSpec, gate_specs
from redpoll.rollout.gate import ErrorRule, log_limit
from redpoll.rollout.plan import weight_of
from redpoll.rollout.units import TESTS
from redpoll.stats.planning import growth, requests_needed
from redpoll.stats.wealth import LATE_STAKE


class Stage(NamedTuple):
    """One step ahead. ``requests`` of both arms; ``seconds`` None: no traffic, so no end in sight."""

    weight: float
    pause_s: float | None  # None: until a person says
    requests: float
    seconds: float | None


class Caught(NamedTuple):
    """When a gate would fail: at which step (0 the first), after how many requests of the candidate."""

    step: int
    requests: float
    seconds: float | None


def stages(plan: Plan, per_second: float) -> list[Stage]:
    """Each step of a plan at so many requests/s of the whole model.

    As the machine does: a step ends after its pause and ``min_requests`` of the candidate, whichever
    is later. A manual step is counted as if the word came at once.
    """
    found = []
    for index, step in enumerate(plan.steps):
        weight = weight_of(plan, index)
        requests = max(plan.min_requests / weight, (step.pause_s or 0.0) * per_second)
        seconds = requests / per_second if per_second > 0 else None
        found.append(Stage(weight, step.pause_s, requests, seconds))
    return found


def caught(
    plan: Plan,
    ahead: Sequence[Stage],
    stable_bad: float,
    candidate_bad: float,
    *,
    by_unit: bool = False,
) -> Caught | None:
    """When the gate on errors would fail a candidate that fails at a rate in [0, 1].

    None: not before the last step ends, or there is no such gate. ``by_unit``: as if every request
    were another unit's, which is the soonest: a unit bets once a test, and the first test has half
    of alpha.
    """
    spec = next((one for one in gate_specs(plan) if one.metric == "error_rate"), None)
    if spec is None or allowed_rate(spec, stable_bad) >= candidate_bad:
        return None
    rule = ErrorRule(spec)
    stakes = np.log(rule.fail_stakes) + (0.0 if by_unit else math.log(1.0 - LATE_STAKE))
    limit = log_limit(spec.alpha * (TESTS[0].share if by_unit else 1.0))
    wealth = np.zeros(stakes.size)
    requests = seconds = 0.0
    for index, stage in enumerate(ahead):
        bad, good = candidate_bad * stage.weight, stable_bad * (1.0 - stage.weight)
        grows = growth(rule.fail_table(stage.weight), [1.0 - bad - good, good, bad])
        needed = requests_needed(wealth, stakes, grows, limit)
        part = 1.0 if needed is None or needed > stage.requests else needed / stage.requests
        requests += stage.requests * stage.weight * part
        seconds += (stage.seconds or 0.0) * part
        if needed is not None and needed <= stage.requests:
            return Caught(index, requests, None if stage.seconds is None else seconds)
        wealth = wealth + grows * stage.requests
    return None


def allowed_rate(spec: GateSpec, stable_bad: float) -> float:
    """The rate of failures that a gate on errors lets a candidate have."""
    if spec.margin_ratio is not None:
        return stable_bad * spec.margin_ratio
    return stable_bad + spec.margin
