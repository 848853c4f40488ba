"""Guesses of how many requests are still wanted, and the examples in all docstrings."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest

from redpoll.stats.bets import FAIL_RATIOS, event_log_factors
from redpoll.stats.planning import growth, requests_needed

MODULES = [
    *(f"redpoll.stats.{name}" for name in ("bets", "wealth", "latency", "planning")),
    *(f"redpoll.rollout.{name}" for name in ("evidence", "evidence_records", "units")),
    "redpoll.rollout.gate_sentence",
    *(f"redpoll.testing.{name}" for name in ("simulate", "simulate_scenario")),
]


@pytest.mark.parametrize("module", MODULES)
def test_every_example_in_the_statistics_runs(module):
    """What a docstring shows is what happens."""
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
    assert result.attempted > 0


def test_the_guess_for_one_to_two_percent_is_near_what_simulation_gives():
    """10 % share, alpha 5 %: the median is about 980 candidate requests; the guess is a bit careful."""
    weight, stable, candidate = 0.1, 0.01, 0.02
    chances = [(1 - weight) * stable, weight * candidate]
    stakes = np.log(np.full(6, 0.8 / 6))
    grows = growth(event_log_factors(FAIL_RATIOS, weight), chances)
    needed = requests_needed(np.zeros(6), stakes, grows, np.log(20.0))
    assert needed is not None
    assert 980 < needed * weight < 1500


def test_nothing_is_guessed_where_no_bet_grows():
    """A candidate outside the margin will not pass by waiting."""
    assert requests_needed(np.zeros(2), np.log([0.5, 0.5]), np.array([-0.1, 0.0]), 3.0) is None


def test_more_wealth_wants_fewer_requests():
    """Monotone in what is there, and 0 where the limit is reached."""
    args = (np.log([0.5, 0.5]), np.array([0.01, 0.02]), 3.0)
    found = [requests_needed(np.full(2, have), *args) for have in (0.0, 1.0, 2.0, 3.0, 4.0)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 1.0
