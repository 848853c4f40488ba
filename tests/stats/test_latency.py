"""Latency: bins, scores and references."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.stats.latency import (
    BINS,
    EDGES_US,
    SLOWEST,
    STAKES,
    LatencyReference,
    bins_of,
    latency_log_factors,
    quantile_us,
    scaled_edges,
)

LATENCIES = st.lists(st.integers(0, 10**10), min_size=1, max_size=80)


@given(latencies=LATENCIES, weight=st.floats(0.01, 0.99), unusable=st.integers(0, 9))
@settings(deadline=None)
def test_every_class_of_latency_bets_evenly_whoever_has_it(latencies, weight, unusable):
    """Given a latency, the arm is the candidate's with w if both are alike: mean exactly 1."""
    reference = LatencyReference.from_latencies(latencies, unusable)
    for sign in (1, -1):
        factors = np.exp(latency_log_factors(reference, weight, sign))
        assert factors.shape == (2, reference.classes, len(STAKES))
        assert np.allclose((1 - weight) * factors[0] + weight * factors[1], 1.0)


@given(latencies=LATENCIES, weight=st.floats(0.01, 0.99), seed=st.integers(0, 999))
@settings(deadline=None)
def test_a_candidate_that_is_stochastically_faster_never_gains_on_average(latencies, weight, seed):
    """Any distribution over classes, and one that it dominates: E[factor] <= 1."""
    reference = LatencyReference.from_latencies(latencies)
    rng = np.random.default_rng(seed)
    stable = rng.dirichlet(np.full(reference.classes, 0.3))
    faster = stable.copy()
    for _ in range(5):  # moves mass to faster classes
        slow, fast = sorted(rng.integers(0, reference.classes, 2))[::-1]
        moved = faster[slow] * rng.random()
        faster[slow] -= moved
        faster[fast] += moved
    factors = np.exp(latency_log_factors(reference, weight))
    mean = (1 - weight) * stable @ factors[0] + weight * faster @ factors[1]
    assert (mean <= 1.0 + 1e-9).all()


def test_scores_are_normal_scores_of_mid_ranks():
    """Against a table: 500 distinct latencies far apart are ranks (i + ½) / 500."""
    latencies = [round(20 * 1.033**i) for i in range(500)]
    reference = LatencyReference.from_latencies(latencies)
    bins = reference.classes_of(bins_of(latencies))
    scores = reference.scores()[bins]
    assert scores[0] == pytest.approx(-2.88, abs=0.35)
    assert scores[249] == pytest.approx(0.0, abs=0.01)
    assert scores[421] == pytest.approx(1.0, abs=0.02)  # 84.1 % quantile
    assert scores[474] == pytest.approx(1.645, abs=0.03)  # 95 %
    assert (np.diff(reference.scores()) >= 0).all()
    assert abs(reference.scores()).max() <= 3.0


@given(latencies=st.lists(st.integers(20, 10**9), min_size=20, max_size=200))
@settings(deadline=None)
def test_the_slow_tails_hold_at_most_their_share(latencies):
    """Never more than 5 % of the reference is in "the slowest 5 %", and a non-answer always is."""
    reference = LatencyReference.from_latencies(latencies)
    for share in (0.05, 0.01):
        tail = reference.tail(share)
        assert reference.per_class()[tail:].sum() <= share * reference.requests
        assert tail <= reference.classes_of(SLOWEST)
    assert reference.tail(0.05) <= reference.tail(0.01)


@given(latency=st.integers(1, 10**9), ratio=st.floats(0.5, 3.0))
@settings(deadline=None)
def test_scaled_edges_divide_the_latency(latency, ratio):
    """The bin of y under edges x ratio is the bin of y / ratio (but for rounding at an edge)."""
    found = int(bins_of(latency, scaled_edges(ratio)))
    assert found in {int(bins_of(latency / ratio * near)) for near in (1 - 1e-9, 1.0, 1 + 1e-9)}


def test_edges_rise_by_six_percent_and_never_meet():
    """Bins are log bins from 16 µs to more than an hour."""
    ratios = [b / a for a, b in itertools.pairwise(EDGES_US)]
    assert EDGES_US[0] == 16
    assert EDGES_US[-1] > 3600 * 10**6
    assert min(ratios) > 1.0 and max(ratios) < 1.13
    assert ratios[-1] == pytest.approx(2 ** (1 / 12))


def test_quantiles_from_bins_are_right_to_a_bin():
    """p50 and p95 of a lognormal sample, within 6 %; empty bins say None."""
    sample = np.exp(np.random.default_rng(1).normal(math.log(40_000), 0.5, 20_000))
    counts = np.bincount(bins_of(sample), minlength=BINS)
    for q in (0.05, 0.5, 0.95, 1.0):
        assert quantile_us(counts, q) == pytest.approx(float(np.quantile(sample, q)), rel=0.065)
    assert quantile_us(np.zeros(BINS), 0.5) is None


def test_a_reference_survives_json_and_its_digest_knows_it():
    """It travels in the Decision that starts a rollout."""
    reference = LatencyReference.from_latencies([900, 1000, 5000, 90_000], unusable=2)
    again = msgspec.json.decode(msgspec.json.encode(reference), type=LatencyReference)
    assert again == reference
    assert again.digest() == reference.digest()
    assert LatencyReference.from_latencies([900, 1000, 5000, 90_000]).digest() != reference.digest()
    assert reference.requests == 6


def test_nothing_usable_makes_no_reference():
    """Without one latency there is no scale."""
    with pytest.raises(ValueError, match="usable"):
        LatencyReference.from_latencies([], unusable=500)
