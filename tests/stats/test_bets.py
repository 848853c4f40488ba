"""Bets are fair under their null: by exact sums over everything that can happen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.stats.bets import (
    FAIL_RATIOS,
    PASS_RATIOS,
    event_log_factors,
    margin_log_factors,
    ratio_weight,
    split_log_factors,
)

WEIGHTS = st.floats(0.001, 0.999)
RATES = st.floats(0.0, 1.0)


@given(weight=WEIGHTS, stable=RATES, better=RATES, ratio=st.floats(1.0, 20.0))
@settings(deadline=None)
def test_a_bad_request_bets_at_best_evenly_while_the_candidate_is_no_worse(
    weight, stable, better, ratio
):
    """E[factor] <= 1 over (arm, bad) for every P(bad | candidate) <= P(bad | stable)."""
    candidate = stable * better
    factors = np.exp(event_log_factors([ratio], weight))[:, 0]
    mean = (
        weight * candidate * factors[1]
        + (1 - weight) * stable * factors[0]
        + weight * (1 - candidate)
        + (1 - weight) * (1 - stable)
    )
    assert mean <= 1.0 + 1e-12


@given(weight=WEIGHTS, stable=RATES, allowed=st.floats(0.2, 5.0), part=RATES)
@settings(deadline=None)
def test_a_relative_margin_moves_the_null_to_ratio_times_the_rate(weight, stable, allowed, part):
    """Fair up to ratio x the stable's rate for failing, from there on for passing."""
    shifted = ratio_weight(weight, allowed)
    within = min(1.0, stable * allowed) * part
    for ratios, candidate in ((FAIL_RATIOS, within), (PASS_RATIOS, stable * allowed * (1 + part))):
        factors = np.exp(event_log_factors(ratios, shifted)) - 1.0
        mean = weight * candidate * factors[1] + (1 - weight) * stable * factors[0]
        assert (mean <= 1e-12 * (1 + allowed)).all()


@given(weight=WEIGHTS, stable=RATES, margin=st.floats(0.0, 0.9), part=RATES)
@settings(deadline=None)
def test_an_absolute_margin_is_fair_on_its_side_and_factors_stay_positive(
    weight, stable, margin, part
):
    """Every request bets; failing is fair within the margin, passing outside it."""
    within = max(0.0, stable + margin - part)
    outside = stable + margin + part
    for ratios, sign, candidate in ((FAIL_RATIOS, 1, within), (PASS_RATIOS, -1, outside)):
        factors = margin_log_factors(ratios, weight, margin, sign)
        assert np.isfinite(factors).all()
        good, bad_stable, bad_candidate = np.exp(factors)
        mean = weight * (candidate * bad_candidate + (1 - candidate) * good) + (1 - weight) * (
            stable * bad_stable + (1 - stable) * good
        )
        assert (mean <= 1.0 + 1e-9).all()


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5, 0.9])
def test_margin_zero_is_the_bet_on_bad_requests(weight):
    """Both formulas of the design agree where they meet, for each r."""
    every = margin_log_factors(FAIL_RATIOS, weight, 0.0, 1)
    assert np.allclose(every[1:], event_log_factors(FAIL_RATIOS, weight))
    assert (every[0] == 0.0).all()


@given(weight=WEIGHTS)
@settings(deadline=None)
def test_the_split_bets_evenly_only_on_what_was_drawn(weight):
    """Mean 1 at the drawn weight; above 1 for some bet as soon as it is another."""
    factors = np.exp(split_log_factors(weight))
    assert np.allclose((1 - weight) * factors[0] + weight * factors[1], 1.0)
    other = weight / 2
    assert ((1 - other) * factors[0] + other * factors[1]).max() > 1.0


def test_no_betting_beats_the_information_in_a_bad_request():
    """Growth per request stays below the Kullback-Leibler distance to the nearest null."""
    weight, stable, candidate = 0.1, 0.01, 0.02
    chances = np.array([(1 - weight) * stable, weight * candidate])
    best = max(
        float(chances @ event_log_factors([r], weight)[:, 0]) for r in np.linspace(1, 9, 400)
    )
    q = chances[1] / chances.sum()
    kl = chances.sum() * (q * math.log(q / weight) + (1 - q) * math.log((1 - q) / (1 - weight)))
    assert best == pytest.approx(kl, rel=1e-3)
    mixture = max(float(chances @ event_log_factors([r], weight)[:, 0]) for r in FAIL_RATIOS)
    assert 0.95 * kl < mixture < kl


def test_wealth_is_one_on_average_after_any_number_of_requests():
    """All 4^6 histories of (arm, bad) under equal rates, weighted: the mean product is exactly 1."""
    weight, rate, length = 0.3, 0.4, 6
    factors = np.exp(event_log_factors(FAIL_RATIOS, weight))
    total = np.zeros(len(FAIL_RATIOS))
    for history in itertools.product(((0, 0), (0, 1), (1, 0), (1, 1)), repeat=length):
        chance, wealth = 1.0, np.ones(len(FAIL_RATIOS))
        for arm, bad in history:
            chance *= (weight if arm else 1 - weight) * (rate if bad else 1 - rate)
            if bad:
                wealth = wealth * factors[arm]
        total += chance * wealth
    assert np.allclose(total, 1.0)
