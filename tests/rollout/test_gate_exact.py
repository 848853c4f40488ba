"""False alarms, exactly: every history that can happen, weighted by its chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from redpoll.rollout.evidence import GateSpec, LatencyReference
from redpoll.rollout.gate import BAD_STABLE, ErrorRule, GateFold, LatencyRule
from redpoll.rollout.units import TESTS, UnitLedgers, unit_gate

ALPHA = 0.3  # large, so that short histories can reach the limit at all


def every_history(chances: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """All sequences of classes, [histories, length], and the chance of each, [histories]."""
    histories = np.array(list(itertools.product(range(chances.size), repeat=length)))
    return histories, chances[histories].prod(axis=1)


def ever(rule, kinds, weights, probability, each=1):
    """Chances that either side ever reaches its limit; ``each``: bad events that one counts for."""
    gate = GateFold(rule, np.ones(len(kinds)), late=True)
    for turn, weight in enumerate(weights):
        kind = kinds[:, turn]
        passing = None if rule.pass_stakes is None else rule.pass_table(weight)[kind]
        events = rule.events[kind] * each
        gate.fold(rule.fail_table(weight)[kind], passing, events)
        gate.note(np.full(len(kinds), turn))
    passed = 0.0 if gate.passes is None else float(probability[gate.passes.at >= 0].sum())
    return float(probability[gate.fails.at >= 0].sum()), passed


@pytest.mark.parametrize("weight", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("each", [1, 100])
@pytest.mark.parametrize(("margin", "ratio"), [(0.0, None), (0.1, None), (0.0, 1.0), (0.0, 1.5)])
def test_at_the_edge_of_the_null_an_error_gate_errs_at_most_alpha(weight, each, margin, ratio):
    """Rates exactly at the margin: failing and passing each happen with chance <= alpha.

    With ``each`` = 100 a later start begins after every bad request.
    """
    stable = 0.4
    candidate = stable + margin if ratio is None else stable * ratio
    rule = ErrorRule(GateSpec(metric="error_rate", alpha=ALPHA, margin=margin, margin_ratio=ratio))
    chances = np.array(
        [
            1 - weight * candidate - (1 - weight) * stable,
            (1 - weight) * stable,
            weight * candidate,
        ]
    )
    kinds, probability = every_history(chances, 8)
    failed, passed = ever(rule, kinds, [weight] * 8, probability, each)
    assert 0.0 < failed <= ALPHA  # reachable, so the bound says something
    assert passed <= ALPHA
    assert rule.spec.has_margin or passed == 0.0


@pytest.mark.parametrize("each", [1, 100])
def test_a_ramp_that_looks_at_what_happened_does_not_help_a_false_alarm(each):
    """The weight of each bad request chosen by an adversary who sees everything: at most alpha."""
    rule = ErrorRule(GateSpec(metric="error_rate", alpha=ALPHA))
    weights, length = (0.05, 0.5), 5
    moves = [(weight, arm) for weight in weights for arm in (0, 1)]
    paths = np.array(list(itertools.product(range(len(moves)), repeat=length)))
    gate = GateFold(rule, np.ones(len(paths)), late=True)
    rows = np.stack([rule.fail_table(weight)[BAD_STABLE + arm] for weight, arm in moves])
    for turn in range(length):
        gate.fold(rows[paths[:, turn]], None, np.full(len(paths), each))
        gate.note(np.full(len(paths), turn))
    value = (gate.fails.at >= 0).astype(float).reshape((len(weights), 2) * length)
    for _ in range(length):  # from the last bad request back: chance over arms, best weight
        chance = np.stack([1 - np.array(weights), np.array(weights)], axis=1)
        value = (value * chance).sum(axis=-1).max(axis=-1)
    assert 0.0 < float(value) <= ALPHA


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("ratio", [None, 1.0])
def test_equal_latencies_fail_a_latency_gate_with_chance_at_most_alpha(weight, ratio):
    """All histories over four kinds of latency (one of them: no answer), both arms alike."""
    reference = LatencyReference.from_latencies([1000] * 10 + [2000] * 8 + [9000], unusable=1)
    rule = LatencyRule(GateSpec(metric="latency", alpha=ALPHA, margin_ratio=ratio), reference, True)
    latencies, status = np.array([1000, 2000, 9000, 0]), np.array([0, 0, 0, 2])
    kinds = [rule.classes_of(np.full(4, arm), status, latencies) for arm in (0, 1)]
    chance = np.array([0.3, 0.3, 0.3, 0.1])
    histories, probability = every_history(
        np.concatenate([(1 - weight) * chance, weight * chance]), 5
    )
    failed, passed = ever(rule, np.concatenate(kinds)[histories], [weight] * 5, probability)
    assert failed <= ALPHA
    assert passed == 0.0


def test_a_unit_gate_errs_at_most_alpha_over_all_its_tests_and_a_ramp():
    """Nine users with many bad requests each, at weights that rise: all ways to split them.

    What users do does not depend on the arm; where a unit falls (below .2, up to .5, above) decides
    from when on it is the candidate's. The chance that any test ever fails is at most alpha.
    """
    rule = ErrorRule(GateSpec(metric="error_rate", alpha=ALPHA))
    rng = np.random.default_rng(4)
    visits = rng.choice(9, 60, p=np.array([9, 8, 7, 6, 5, 4, 3, 2, 1]) / 45).tolist()
    weights = [0.2] * 25 + [0.5] * 35
    places = np.array(list(itertools.product(range(3), repeat=9)))
    probability = np.array([0.2, 0.3, 0.5])[places].prod(axis=1)
    ledgers, tests = UnitLedgers(), len(TESTS)
    gate = GateFold(rule, np.tile([test.share for test in TESTS], len(places)), late=False)
    none = np.zeros(len(places) * tests, dtype=np.int64)
    for turn, unit in enumerate(visits):
        ledgers.open_due(turn, 60)
        arm = (places[:, unit] < (1 if weights[turn] == 0.2 else 2)).astype(int)
        increments = np.zeros((len(places), tests, 6))
        for _, row in ledgers.bets([unit]):
            increments[:, row] = rule.fail_table(weights[turn])[BAD_STABLE + arm]
        gate.fold(increments.reshape(-1, 6), None, none)
        gate.note(none)
    failed = (gate.fails.at.reshape(-1, tests) >= 0).any(axis=1)
    assert 0.0 < float(probability[failed].sum()) <= ALPHA
    assert sum(test.share for test in TESTS) == pytest.approx(1.0)
    assert unit_gate(rule).fails.log_limits.size == tests
