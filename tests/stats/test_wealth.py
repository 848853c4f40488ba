"""Wealth: the mixture over bets and later starts, against sums written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.stats.wealth import LATE_EVERY, Wealth, log_mean_exp

BUCKETS = st.lists(
    st.tuples(st.floats(-0.4, 0.5), st.floats(-0.3, 0.4), st.integers(0, 120)), max_size=60
)


def by_hand(buckets, stakes):
    """.8 x all bets from the start + .2 x (later starts by their prior + what is not started)."""
    later, begun, events = 0.0, 0, 0
    starts = []
    for index, (_, _, bad) in enumerate(buckets):
        events += bad
        while begun < events // LATE_EVERY:
            begun += 1
            starts.append((index + 1, 20 / ((begun + 19) * (begun + 20))))

    def wealth(since):
        logs = np.array([bucket[:2] for bucket in buckets[since:]]).reshape(-1, 2).sum(axis=0)
        return float(np.exp(logs) @ stakes)

    for since, prior in starts:
        later += prior * wealth(since)
    cash = 1.0 - sum(prior for _, prior in starts)
    return 0.8 * wealth(0) + 0.2 * (later + cash)


@given(buckets=BUCKETS)
@settings(deadline=None)
def test_late_starts_are_the_mixture_that_the_design_writes_down(buckets):
    """The telescoped sum in constant memory equals the sum over every start, each bet from its own."""
    stakes = np.array([0.25, 0.75])
    wealth = Wealth(stakes)
    for one, two, bad in buckets:
        wealth.fold(np.array([[one, two]]), np.array([bad]))
    found = math.exp(float(wealth.log_evidence()[0]))
    assert found == pytest.approx(by_hand(buckets, stakes), rel=1e-9)


@given(buckets=BUCKETS, cut=st.integers(0, 60))
@settings(deadline=None)
def test_a_checkpoint_continues_to_the_bit(buckets, cut):
    """State out and in anywhere: the same numbers, not nearly the same."""
    straight, held = Wealth([0.5, 0.5]), Wealth([0.5, 0.5])
    for index, (one, two, bad) in enumerate(buckets):
        if index == cut:
            state, held = held.state(), Wealth([0.5, 0.5])
            held.restore(state)
        for wealth in (straight, held):
            wealth.fold(np.array([[one, two]]), np.array([bad]))
    assert straight.state() == held.state()
    assert straight.log_evidence()[0] == held.log_evidence()[0]


def test_many_runs_at_once_are_each_what_they_are_alone():
    """[runs, bets] is runs independent wealths: what is simulated is what runs live."""
    rng = np.random.default_rng(3)
    increments, events = rng.normal(0, 0.2, (300, 5, 3)), rng.integers(0, 9, (300, 5))
    together = Wealth([0.2, 0.3, 0.5], runs=5)
    alone = [Wealth([0.2, 0.3, 0.5]) for _ in range(5)]
    for step in range(300):
        together.fold(increments[step], events[step])
        for run, wealth in enumerate(alone):
            wealth.fold(increments[step, run : run + 1], events[step, run : run + 1])
    assert together.log_evidence().tolist() == [float(w.log_evidence()[0]) for w in alone]
    assert (together.bound() >= together.log_evidence()).all()


@given(value=st.floats(-1e5, 1e5), bets=st.integers(1, 9))
@settings(deadline=None)
def test_evidence_of_any_size_is_a_number(value, bets):
    """No overflow at wealth e^100000, no nan at e^-100000; the later stakes keep the floor."""
    wealth = Wealth(np.full(bets, 1 / bets))
    wealth.fold(np.full((1, bets), value), np.array([5]))
    found = float(wealth.log_evidence()[0])
    assert math.isfinite(found)
    assert found >= math.log(0.2) - 1e-9
    assert found == pytest.approx(max(value + math.log(0.8), math.log(0.2)), abs=0.8)


def test_stakes_that_do_not_sum_to_one_are_refused():
    """More than the whole stake would not be an e-process."""
    for stakes in ([0.5, 0.6], [1.5, -0.5], [1.0, 0.0]):
        with pytest.raises(ValueError, match="stakes"):
            Wealth(stakes)


def test_the_mean_of_wealths_is_taken_without_overflow():
    """log_mean_exp on known values, also where every wealth is 0."""
    logs = np.log([0.25, 0.75])
    assert log_mean_exp(np.log([4.0, 8.0]), logs) == pytest.approx(math.log(7.0))
    assert log_mean_exp(np.array([-np.inf, 0.0]), logs) == pytest.approx(math.log(0.75))
