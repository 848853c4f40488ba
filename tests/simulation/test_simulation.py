"""The live gate code under simulated traffic: false alarms within alpha, detection as designed."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from redpoll.rollout.evidence import BUCKET_US, Evidence, EvidenceSpec, GateSpec
from redpoll.rollout.gate import BAD_STABLE, GOOD, ErrorRule, GateFold
from redpoll.testing.simulate import simulate
from redpoll.testing.simulate_scenario import parse
from redpoll.testing.simulate_users import Traffic, draw
from tests.rollout.entries import answer, request
from tests.simulation.rows import ROWS, TEN, USER_RAMP, USERS, verdict

RUNS = 1000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_of_the_design_comes_out_as_it_was_checked(row, record_property):
    """1,000 runs: false alarms not above alpha by more than chance; medians within 12 %."""
    line, wrong = verdict(row, simulate(row.scenario, RUNS, seed=20261124))
    record_property("simulated", line)
    print(line)
    assert not wrong


def test_a_candidate_that_is_worse_for_returning_users_is_found():
    """One point more for everyone, and twice the errors: nearly always, in a part of the traffic."""
    for harm in ({"extra": 0.01}, {"ratio": 2.0}):
        result = simulate({"plan": [[0.1, 1.0]], "users": USERS | harm}, 200, seed=3)
        assert result["fail"]["share"] > 0.9
        assert result["fail"]["median"] < 3000


def test_a_regression_that_starts_halfway_is_found_among_returning_users():
    """Units that have bet already bet anew in the tests that begin later."""
    users = USERS | {"ratio": 3.0, "since": 0.5, "count": 15_000}
    result = simulate({"plan": [[0.5, 1.0]], "users": users}, 100, seed=3)
    assert result["fail"]["share"] > 0.95
    assert result["fail"]["p05"] > 0.2 * 120_000 * 0.5


def test_a_bet_per_request_would_convict_the_blameless_among_returning_users():
    """The users of these scenarios are hard: without the rule for units, far more than alpha."""
    scenario = parse({"plan": USER_RAMP, "users": USERS | {"sd": 0.06}})
    traffic, rule = Traffic(scenario, scenario.users), ErrorRule(scenario.spec)
    rng, false, runs = np.random.default_rng(5), 0, 150
    tables = np.stack([rule.fail_table(float(weight)) for weight in traffic.weights])
    for _ in range(runs):
        visits = draw(traffic, False, rng)
        path = np.cumsum(tables[visits.step, visits.kind], axis=0)
        false += bool((np.exp(np.minimum(path, 50)).mean(axis=1) >= 20).any())
    assert false / runs > 0.15


def test_counting_by_time_of_answer_would_convict_a_blameless_candidate():
    """An incident of both arms in which the stable fails 8 s late: why buckets go by arrival."""
    runs, weight, requests, late = 200, 0.1, 40, 80
    rng, rule = np.random.default_rng(7), ErrorRule(GateSpec(metric="error_rate", alpha=0.05))
    gate, table = GateFold(rule, np.ones(runs), late=True), rule.fail_table(weight)
    shown = np.zeros((600 + late, runs), dtype=np.int64)
    for bucket in range(600):
        rate = 0.08 if 200 <= bucket < 500 else 0.01
        candidate = rng.binomial(requests, weight, runs)
        bad = rng.binomial(candidate, rate)
        shown[bucket + late] = rng.binomial(requests - candidate, rate)
        summed = bad[:, None] * table[BAD_STABLE + 1] + shown[bucket][:, None] * table[BAD_STABLE]
        gate.fold(summed, None, bad + shown[bucket])
        gate.note(np.full(runs, bucket))
    assert float((gate.fails.at >= 0).mean()) > 0.8


@pytest.mark.parametrize("margin", [None, 1.5])
def test_evidence_of_entries_says_what_the_simulated_fold_says(margin):
    """The same requests as journal entries and as classes: same evidence, same verdict, same moment."""
    spec = GateSpec(metric="error_rate", alpha=0.05, margin_ratio=margin)
    for seed in range(4):
        rng, rule = random.Random(seed), ErrorRule(spec)
        fold = GateFold(rule, np.ones(1), late=True)
        evidence = Evidence.start(EvidenceSpec(rollout_id="churn-7", gates=(spec,)))
        for number in range(700):
            arm, weight = int(rng.random() < 0.3), 0.3 if number < 400 else 0.5
            bad = rng.random() < (0.5 if arm else 0.3)
            time_us = number * BUCKET_US
            name = ("stable", "candidate")[arm]
            evidence.add(request(f"p{number}", time_us, name, weight=weight))
            evidence.add(answer(f"p{number}", time_us + 1, "error" if bad else "ok"))
            evidence.close(time_us + BUCKET_US)
            kind = [BAD_STABLE + arm if bad else GOOD]
            passing = None if rule.pass_stakes is None else rule.pass_table(weight)[kind]
            fold.fold(rule.fail_table(weight)[kind], passing, rule.events[kind])
            fold.note(np.array([time_us + BUCKET_US if arm else -1]))
        (gate,) = evidence.read().gates
        assert gate.log_evidence == pytest.approx(fold.fails.standing().log_evidence, abs=1e-9)
        assert gate.failed_us == fold.fails.standing().at
        if fold.passes is not None:
            assert gate.passed_us == fold.passes.standing().at


def test_a_simulated_bad_rate_and_share_are_what_the_scenario_asks_for():
    """The traffic itself: errors per candidate request and the candidate's share, by counting bets."""
    scenario = parse({"plan": USER_RAMP, "users": USERS})
    visits = draw(Traffic(scenario, scenario.users), True, np.random.default_rng(2))
    bad = visits.kind != GOOD
    assert bad.mean() == pytest.approx(USERS["mean"], rel=0.1)
    for step, (weight, _) in enumerate(USER_RAMP):
        assert visits.arm[visits.step == step].mean() == pytest.approx(weight, rel=0.15)
    assert visits.position[-1] == pytest.approx(visits.arm.sum(), rel=0.1)


def test_exact_thinning_gives_the_rates_of_a_direct_simulation():
    """Events drawn one to the next, against every request drawn on its own: the same medians."""
    scenario = {
        "plan": [[0.2, 3000]],
        "stable": {"rate": 0.05},
        "candidate": {"rate": 0.2, "from": 200},
    }
    events = simulate(scenario, 1000, seed=1)["fail"]
    rng, rule, runs = np.random.default_rng(1), ErrorRule(GateSpec(metric="error_rate")), 1000
    gate, position = GateFold(rule, np.ones(runs), late=True), np.zeros(runs, dtype=np.int64)
    table = rule.fail_table(0.2)
    while (gate.fails.at < 0).any():
        arm = (rng.random(runs) < 0.2).astype(int)
        rate = np.where((arm == 1) & (position >= 200), 0.2, 0.05)
        position += arm
        kind = np.where(rng.random(runs) < rate, BAD_STABLE + arm, GOOD)
        gate.fold(table[kind], None, rule.events[kind])
        gate.note(np.where(arm == 1, position, -1))
    assert events["share"] > 0.99
    assert events["median"] == pytest.approx(float(np.median(gate.fails.at)), rel=0.05)
    assert events["p95"] == pytest.approx(float(np.quantile(gate.fails.at, 0.95)), rel=0.08)


def test_alpha_is_what_is_asked_for():
    """Ten times the alpha finds the same harm sooner, by about ln 10 in evidence."""
    worse = {"plan": TEN, "stable": {"rate": 0.01}, "candidate": {"rate": 0.02}}
    slow, fast = (simulate(worse | {"alpha": a}, 1000, 1)["fail"]["median"] for a in (0.01, 0.1))
    assert 1.4 < slow / fast < 2.6
    assert math.isfinite(slow)
