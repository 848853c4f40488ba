"""Error gates by unit under simulated returning users, each with a rate of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redpoll.rollout.gate import BAD_STABLE, GOOD, ErrorRule, GateFold
from redpoll.rollout.units import STARTS, TESTS, UnitLedgers
from redpoll.testing.simulate_errors import Outcome
from redpoll.testing.simulate_scenario import Scenario, Users

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Visits(NamedTuple):
    """Requests that may bet, in order of arrival: arrays [visits]."""

    request: Floats  # how many requests of all came before
    user: Ints
    kind: Ints  # class of the error gate
    step: Ints
    position: Ints  # candidate requests before
    arm: Ints


class Traffic:
    """The plan over all requests: weights by share, and where that is in candidate requests."""

    def __init__(self, scenario: Scenario, users: Users) -> None:
        self.scenario, self.users = scenario, users
        self.weights: Floats = np.array([weight for weight, _ in scenario.plan])
        self.ends: Floats = np.cumsum([share for _, share in scenario.plan])
        self.length = float(self.ends[-1]) * users.requests
        spans = np.diff(np.concatenate([[0.0], self.ends]))
        self.before: Floats = np.concatenate([[0.0], np.cumsum(spans * self.weights)])

    def step(self, share: Floats) -> Ints:
        """Which step is on at a share of all requests."""
        return np.minimum(np.searchsorted(self.ends, share, side="right"), self.weights.size - 1)

    def position(self, share: Floats) -> Floats:
        """Candidate requests before a share of all requests (expected: users are split by hash)."""
        step = self.step(share)
        begin = np.concatenate([[0.0], self.ends])[step]
        inside = (share - begin) * self.weights[step]
        return np.asarray((self.before[step] + inside) * self.users.requests)


def draw(traffic: Traffic, every: bool, rng: np.random.Generator) -> Visits:
    """One run. ``every``: all requests bet, not only bad ones.

    Requests of a user come at uniform moments; a bad one is kept with rate / bound (thinning).
    """
    scenario, users = traffic.scenario, traffic.users
    spread = users.mean * (1.0 - users.mean) / users.sd**2 - 1.0 if users.sd > 0.0 else 0.0
    rates = np.full(users.count, users.mean)
    if spread:
        rates = rng.beta(users.mean * spread, (1.0 - users.mean) * spread, users.count)
    total = rng.multinomial(int(traffic.length), np.full(users.count, 1.0 / users.count))
    hashed = rng.random(users.count)
    high = 1.0 + (scenario.wave.amplitude if scenario.wave else 0.0)
    bound = np.maximum(rates, rates * users.ratio + users.extra) * high
    if scenario.both:
        bound = np.maximum(bound, scenario.both.rate)
    bound = np.ones(users.count) if every else np.clip(bound, 0.0, 1.0)
    user = np.repeat(np.arange(users.count), rng.binomial(total, bound))
    share = rng.random(user.size) * float(traffic.ends[-1])
    order = np.argsort(share, kind="stable")
    user, share = user[order], share[order]
    step, position = traffic.step(share), traffic.position(share)
    arm = (hashed[user] < traffic.weights[step]).astype(np.int64)
    worse = (arm == 1) & (share >= users.since)
    rate = np.where(worse, rates[user] * users.ratio + users.extra, rates[user])
    rate = rate * scenario.wave_at(position)
    if scenario.both:
        inside = (position >= scenario.both.from_) & (position < scenario.both.until)
        rate = np.where(inside, scenario.both.rate, rate)
    bad = rng.random(user.size) * bound[user] < rate
    keep = np.ones(user.size, dtype=bool) if every else bad
    kind = np.where(bad, BAD_STABLE + arm, GOOD)
    return Visits(
        (share * users.requests)[keep],
        user[keep],
        kind[keep],
        step[keep],
        position[keep].astype(np.int64),
        arm[keep],
    )


def bets(visits: Visits, length: float) -> list[tuple[int, int]]:
    """Which visit bets in which test, by the ledgers that live units are noted in."""
    ledgers, found, begin = UnitLedgers(), [], 0
    ends = [int(np.searchsorted(visits.request, start * length)) for start in STARTS[1:]]
    units = visits.user.tolist()
    for start, end in zip(STARTS, [*ends, len(units)]):
        ledgers.open_due(int(np.ceil(start * length)), length)
        found += [(begin + index, row) for index, row in ledgers.bets(units[begin:end])]
        begin = end
    return found


def simulate_users(
    scenario: Scenario, users: Users, runs: int, rng: np.random.Generator
) -> Outcome:
    """One request a bucket. Rows of the fold are (run, test); the n-th bets of all are one step."""
    traffic, rule = Traffic(scenario, users), ErrorRule(scenario.spec)
    tests = len(TESTS)
    gate = GateFold(rule, np.tile([test.share for test in TESTS], runs), late=False)
    fail = np.stack([rule.fail_table(float(w)) for w in traffic.weights])
    passing = fail
    if rule.pass_stakes is not None:
        passing = np.stack([rule.pass_table(float(w)) for w in traffic.weights])
    queues = [_queue(draw(traffic, bool(rule.bets[GOOD]), rng), traffic) for _ in range(runs)]
    pending = _by_turn(queues, tests)
    none = np.zeros(runs * tests, dtype=np.int64)
    for rows, step, kind, position, candidate in pending:
        increments = np.zeros((runs * tests, fail.shape[-1]))
        increments[rows] = fail[step, kind]
        also = None
        if gate.passes is not None:
            also = np.zeros((runs * tests, passing.shape[-1]))
            also[rows] = passing[step, kind]
        gate.fold(increments, also, none)
        at = np.full(runs * tests, -1, dtype=np.int64)
        at[rows] = np.where(candidate, position, -1)
        gate.note(at)
    outcome = Outcome(runs)
    outcome.failed = _first(gate.fails.at.reshape(runs, tests))
    if gate.passes is not None:
        outcome.passed = _first(gate.passes.at.reshape(runs, tests))
    return outcome


def _queue(visits: Visits, traffic: Traffic) -> Ints:
    """A run's bets: columns test, step, class, position, arm, turn within the test."""
    found = bets(visits, traffic.length)
    index = np.fromiter((index for index, _ in found), dtype=np.int64, count=len(found))
    row = np.fromiter((row for _, row in found), dtype=np.int64, count=len(found))
    turn = np.zeros(row.size, dtype=np.int64)
    for test in range(len(TESTS)):
        mine = row == test
        turn[mine] = np.arange(int(mine.sum()))
    columns = (visits.step, visits.kind, visits.position, visits.arm)
    return np.stack([row, *(column[index] for column in columns), turn])


def _by_turn(queues: list[Ints], tests: int) -> list[tuple[Ints, Ints, Ints, Ints, Ints]]:
    """The n-th bet of every row, for each n: rows, steps, classes, positions, arms."""
    every = np.concatenate(
        [np.vstack([queue[0] + run * tests, queue[1:]]) for run, queue in enumerate(queues)], axis=1
    )
    every = every[:, np.argsort(every[5], kind="stable")]
    cuts = np.flatnonzero(np.diff(every[5])) + 1
    parts = np.split(every, cuts, axis=1)
    return [(part[0], part[1], part[2], part[3], part[4]) for part in parts]


def _first(at: Ints) -> Ints:
    """When the first of a run's tests reached its limit, [runs]; -1: none did."""
    never = np.iinfo(np.int64).max
    first = np.where(at >= 0, at, never).min(axis=1)
    return np.where(first == never, -1, first)
