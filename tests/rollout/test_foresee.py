"""What a plan says beforehand agrees with what the gate that would judge does."""

from __future__ import annotations

import numpy as np
import pytest

from redpoll.catalog import Gate, Plan, Step
from redpoll.rollout.evidence_records import gate_specs
from redpoll.rollout.foresee import caught, stages
from redpoll.rollout.gate import Bucket, ErrorRule, GateFold

PLAN = Plan(
    steps=(Step(weight=0.01, pause_s=600.0), Step(weight=0.1, pause_s=600.0), Step(weight=0.5)),
    min_requests=200,
)


def test_a_step_lasts_its_pause_or_its_requests_whichever_is_later():
    """200 requests at 1 % of 10/s are 2,000 s; at 10 % the pause is longer; without pause 40 s."""
    found = stages(PLAN, 10.0)
    assert [round(one.seconds) for one in found] == [2000, 600, 40]
    assert [one.seconds for one in stages(PLAN, 0.0)] == [None] * 3


def simulated(stable_bad: float, candidate_bad: float, seed: int) -> int | None:
    """Candidate requests until the real fold of the gate fails, under the plan's own weights."""
    random = np.random.default_rng(seed)
    rule = ErrorRule(next(s for s in gate_specs(PLAN) if s.metric == "error_rate"))
    fold = GateFold(rule, np.ones(1), late=True)
    seen = 0
    for stage in stages(PLAN, 10.0):
        left = round(stage.requests)
        while left > 0:
            size = min(10, left)
            left -= size
            arm = (random.random(size) < stage.weight).astype(np.int64)
            bad = random.random(size) < np.where(arm == 1, candidate_bad, stable_bad)
            zeros = np.zeros(size, dtype=np.int64)
            fold.fold_bucket(
                Bucket(arm, np.full(size, stage.weight), zeros.astype(np.uint64), zeros,
                       bad.astype(np.int64), zeros)
            )  # fmt: skip
            seen += int(arm.sum())
            fold.note(np.array([seen]))
            if fold.fails.at[0] >= 0:
                return seen
    return None


@pytest.mark.parametrize(("stable", "candidate"), [(0.0, 1.0), (0.01, 0.1), (0.006, 0.06)])
def test_what_is_foreseen_is_what_the_gate_does_by_and_large(stable, candidate):
    """The median of simulated rollouts is within a factor of two of what is said."""
    said = caught(PLAN, stages(PLAN, 10.0), stable, candidate)
    assert said is not None
    found = sorted(simulated(stable, candidate, seed) or 10**9 for seed in range(21))
    assert said.requests / 2 <= found[10] <= said.requests * 2


def test_little_harm_is_said_not_to_be_seen():
    """A tenth more errors escapes so short a plan, and a margin's own size is no harm."""
    assert caught(PLAN, stages(PLAN, 10.0), 0.01, 0.011) is None
    wide = Plan(gates=(Gate(metric="error_rate", margin=0.05),))
    assert caught(wide, stages(wide, 1000.0), 0.0, 0.04) is None
    assert caught(wide, stages(wide, 1000.0), 0.0, 0.2) is not None


@pytest.mark.parametrize(("stable", "candidate"), [(0.0, 1.0), (0.01, 0.1)])
def test_units_that_never_come_back_are_foreseen_too(stable, candidate):
    """By unit the first test has half of the gate's alpha: a little later than by request."""
    ahead = stages(PLAN, 10.0)
    by_request = caught(PLAN, ahead, stable, candidate)
    by_unit = caught(PLAN, ahead, stable, candidate, by_unit=True)
    assert by_request is not None and by_unit is not None
    assert by_request.requests < by_unit.requests < 2 * by_request.requests + 10


def test_a_plan_without_a_gate_on_errors_says_nothing():
    """Nothing is made up."""
    plan = Plan(gates=(Gate(metric="latency", margin_ratio=1.2),))
    assert caught(plan, stages(plan, 10.0), 0.0, 1.0) is None
