"""Latency gates under simulated traffic: many runs at once, each with its own reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redpoll.rollout.gate import GateFold, LatencyRule
from redpoll.stats.latency import ENOUGH, SLOWEST, LatencyReference, bins_of, scaled_edges
from redpoll.testing.simulate_errors import Outcome, decided
from redpoll.testing.simulate_scenario import Scenario, Segments

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MEDIAN_US = 40_000.0  # the stable's; only ratios matter
BLOCK = 128  # requests drawn at a time
GROUPS = 100  # different references; runs share them evenly


def simulate_latency(scenario: Scenario, runs: int, rng: np.random.Generator) -> Outcome:
    """One request a bucket. Bad requests (``rate``) have no usable answer and count as slowest."""
    parts = Segments(scenario)
    rules = [_rule(scenario, rng) for _ in range(min(GROUPS, runs))]
    gate = GateFold(rules[0], np.ones(runs), late=True)
    model, outcome = _Model(scenario, parts, rules), Outcome(runs)
    ids = np.arange(runs)
    group, position, segment = ids % len(rules), np.zeros_like(ids), np.zeros_like(ids)
    while ids.size:
        block, column = _Block(scenario, ids.size, rng), np.arange(ids.size)
        for at in range(BLOCK):
            arm = (block.arm[at, column] < parts.weight[segment]).astype(np.int64)
            bins = model.bins(block, at, column, arm, segment)
            rate = parts.rates[arm, segment] * scenario.wave_at(position)
            model.fold(
                gate,
                group,
                segment,
                arm,
                np.where(block.bad[at, column] < rate, SLOWEST, bins),
                position,
            )
            segment = segment + (position >= parts.end[segment])
            over = (segment >= parts.end.size) | decided(gate)
            if over.any():
                rows = np.nonzero(~over)[0]
                outcome.take(ids, gate)
                gate.keep(rows)
                ids, group, column = ids[rows], group[rows], column[rows]
                position, segment = position[rows], segment[rows]
                if not ids.size:
                    break
    return outcome


def _rule(scenario: Scenario, rng: np.random.Generator) -> LatencyRule:
    latencies = MEDIAN_US * np.exp(scenario.latency.sd * rng.standard_normal(ENOUGH))
    bad = rng.random(ENOUGH) < scenario.stable.rate
    usable = [int(us) for us in latencies[~bad]]
    reference = LatencyReference.from_latencies(usable, int(bad.sum()))
    return LatencyRule(scenario.spec, reference, errors_are_slow=True)


class _Block:
    """Draws for BLOCK requests of each run, [BLOCK, runs]; bins are the stable's."""

    def __init__(self, scenario: Scenario, runs: int, rng: np.random.Generator) -> None:
        latency, shape = scenario.latency, (BLOCK, runs)
        self.latency_us: Floats = MEDIAN_US * np.exp(latency.sd * rng.standard_normal(shape))
        self.bins: Ints = bins_of(self.latency_us)
        self.arm: Floats = rng.random(shape)
        self.bad: Floats = rng.random(shape)
        self.tail: Floats | None = rng.random(shape) if latency.tail_share > 0.0 else None


class _Model:
    """What each request bets, by reference: tables [groups * segments * classes, bets]."""

    def __init__(self, scenario: Scenario, parts: Segments, rules: list[LatencyRule]) -> None:
        self.latency, self.parts = scenario.latency, parts
        self.edges = scaled_edges(scenario.spec.margin_ratio or 1.0)
        self.first: Ints = np.array([rule.reference.first for rule in rules])
        self.classes: Ints = np.array([rule.reference.classes for rule in rules])
        self.widest = 2 * int(self.classes.max())
        shape = (len(rules), parts.weight.size, self.widest, rules[0].fail_stakes.size)
        fail, passing = np.zeros(shape), np.zeros(shape)
        self.events: Ints = np.zeros((len(rules), self.widest), dtype=np.int64)
        for number, rule in enumerate(rules):
            size = 2 * rule.reference.classes
            self.events[number, :size] = rule.events
            for index, weight in enumerate(parts.weight.tolist()):
                fail[number, index, :size] = rule.fail_table(weight)
                passing[number, index, :size] = rule.pass_table(weight)
        self.fail: Floats = fail.reshape(-1, shape[-1])
        self.passing: Floats = passing.reshape(-1, shape[-1])

    def bins(self, block: _Block, at: int, column: Ints, arm: Ints, segment: Ints) -> Ints:
        """The bin of each run's request; the candidate's latency is divided by the margin's ratio."""
        bins: Ints = block.bins[at, column]
        of_candidate = np.nonzero(arm)[0]
        if of_candidate.size:
            columns = column[of_candidate]
            slower = np.full(columns.size, self.latency.factor)
            if block.tail is not None:
                hit = block.tail[at, columns] < self.latency.tail_share
                slower = np.where(hit, slower * self.latency.tail_factor, slower)
            slower = np.where(self.parts.regressed[segment[of_candidate]], slower, 1.0)
            values = block.latency_us[at, columns] * slower
            bins[of_candidate] = bins_of(values, self.edges)
        return bins

    def fold(
        self, gate: GateFold, group: Ints, segment: Ints, arm: Ints, bins: Ints, position: Ints
    ) -> None:
        """One request of each run; moves ``position`` on. As ``LatencyRule.class_of``, for arrays."""
        classes = self.classes[group]
        kind = np.clip(bins - self.first[group] + 1, 0, classes - 1) + arm * classes
        row = (group * self.parts.weight.size + segment) * self.widest + kind
        position += arm
        passing = None if gate.passes is None else self.passing.take(row, axis=0)
        gate.fold(self.fail.take(row, axis=0), passing, self.events[group, kind])
        gate.note(np.where(arm == 1, position, -1))
