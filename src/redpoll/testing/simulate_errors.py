"""Error gates under simulated traffic: many runs at once, through the fold that judges live ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redpoll.rollout.gate import BAD_STABLE, GOOD, ErrorRule, GateFold
from redpoll.testing.simulate_scenario import Reporting, Scenario, Segments

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
QUIET = 1e-9  # where nothing can go wrong, a potential event this rarely; it then never happens


class Outcome:
    """When each run failed and passed, in candidate requests; -1: never. Shape [runs]."""

    def __init__(self, runs: int) -> None:
        self.failed: Ints = np.full(runs, -1, dtype=np.int64)
        self.passed: Ints = np.full(runs, -1, dtype=np.int64)

    def take(self, ids: Ints, gate: GateFold) -> None:
        """Note what a fold says of the runs in its rows."""
        self.failed[ids] = gate.fails.at
        if gate.passes is not None:
            self.passed[ids] = gate.passes.at


def decided(gate: GateFold) -> NDArray[np.bool_]:
    """Which rows have nothing more to say, [rows]."""
    failed = gate.fails.at >= 0
    return failed if gate.passes is None else failed & (gate.passes.at >= 0)


class _Runs:
    """Where each run that still goes is: its number, position and segment."""

    def __init__(self, runs: int) -> None:
        self.ids: Ints = np.arange(runs)
        self.position: Ints = np.zeros(runs, dtype=np.int64)
        self.segment: Ints = np.zeros(runs, dtype=np.int64)

    def keep(self, rows: Ints) -> None:
        self.ids, self.position = self.ids[rows], self.position[rows]
        self.segment = self.segment[rows]


def simulate_errors(scenario: Scenario, runs: int, rng: np.random.Generator) -> Outcome:
    """One request a bucket, from one bad request to the next; good ones only where they bet.

    A request is *potentially* bad with its arm's largest rate in the segment, and then really so
    with rate / bound (thinning). Between two potential ones all are good, and of these a binomial
    number is the candidate's. A segment that ends in between is left at its very last candidate
    request, where everything starts anew (the process has no memory). All of that is exact.
    """
    parts, gate = Segments(scenario), GateFold(ErrorRule(scenario.spec), np.ones(runs), late=True)
    tables = _tables(gate, parts)
    good_bets = bool(gate.rule.bets[GOOD])
    state, outcome = _Runs(runs), Outcome(runs)
    # Good requests that bet are folded in lots, lest a pass be noticed much too late.
    most = max(1, int(parts.end[-1] / 2000 / parts.weight.max())) if good_bets else 2**40
    while state.ids.size:
        seg = state.segment
        weight, bound = parts.weight[seg], parts.bounds[:, seg]
        chance = np.maximum(weight * bound[1] + (1.0 - weight) * bound[0], QUIET)
        gap = rng.geometric(chance)
        potential = gap <= most
        good = np.where(potential, gap - 1, most)
        of_candidate = weight * (1.0 - bound[1]) / np.maximum(1.0 - chance, QUIET)
        moved = rng.binomial(good, np.clip(of_candidate, 0.0, 1.0))
        left = parts.end[seg] - state.position
        over = moved >= left
        if gate.passes is not None:  # what a failure of the stable proved, the next request notes
            gate.note(np.where(moved > 0, state.position + 1, -1))
        if good_bets:
            # What is left of the lot until the segment ends; at most a lot is misjudged.
            share = np.where(over, np.minimum(left / np.maximum(moved, 1), 1.0), 1.0)
            reached = state.position + np.minimum(moved, np.ceil(left)).astype(np.int64)
            _fold(gate, tables, seg, np.full(seg.size, GOOD), good * share)
            gate.note(np.where(moved > 0, reached, -1))
        state.position += np.where(over, np.ceil(left), moved).astype(np.int64)
        arm, bad = _draw(scenario, parts, state, chance, rng)
        happens = potential & ~over
        state.position += happens & (arm == 1)
        kind = np.where(happens & bad, BAD_STABLE + arm, GOOD)
        count = np.where(happens if good_bets else happens & bad, 1.0, 0.0)
        _fold(gate, tables, seg, kind, count)
        gate.note(np.where(happens & (arm == 1), state.position, -1))
        state.segment = seg + (state.position >= parts.end[seg])
        rows = np.nonzero((state.segment < parts.end.size) & ~decided(gate))[0]
        if rows.size < 0.9 * state.ids.size or not rows.size:
            outcome.take(state.ids, gate)
            gate.keep(rows)
            state.keep(rows)
        else:
            state.segment = np.minimum(state.segment, parts.end.size - 1)
    return outcome


def _draw(
    scenario: Scenario, parts: Segments, state: _Runs, chance: Floats, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.bool_]]:
    """Whose a potentially bad request is, and whether it is really bad."""
    weight, bound = parts.weight[state.segment], parts.bounds[:, state.segment]
    arm = (rng.random(state.ids.size) * chance < weight * bound[1]).astype(np.int64)
    rows = np.arange(state.ids.size)
    rate = parts.rates[arm, state.segment] * scenario.wave_at(state.position)
    return arm, rng.random(rows.size) * bound[arm, rows] < rate


def _tables(gate: GateFold, parts: Segments) -> tuple[Floats, Floats | None]:
    """Log factors [segments, classes, bets] of both sides."""
    fail = np.stack([gate.rule.fail_table(float(w)) for w in parts.weight])
    if gate.rule.pass_stakes is None:
        return fail, None
    return fail, np.stack([gate.rule.pass_table(float(w)) for w in parts.weight])


def _fold(
    gate: GateFold,
    tables: tuple[Floats, Floats | None],
    segment: Ints,
    kind: Ints,
    count: Floats,
) -> None:
    """One bucket of each row with ``count`` requests of one class."""
    number = count[:, None]
    passing = None if tables[1] is None else tables[1][segment, kind] * number
    events = gate.rule.events[kind] * (count > 0)
    gate.fold(tables[0][segment, kind] * number, passing, events)


def simulate_reporting(
    scenario: Scenario, reporting: Reporting, runs: int, rng: np.random.Generator
) -> Outcome:
    """Buckets of 100 ms, each closed when its last failure is known and the one before is closed.

    What is noted is how many candidate requests had arrived when the deciding bucket closed.
    """
    parts, gate = Segments(scenario), GateFold(ErrorRule(scenario.spec), np.ones(runs), late=True)
    fail, passing = _tables(gate, parts)
    state, outcome = _Runs(runs), Outcome(runs)
    late = round(reporting.stable_failures_late_s * 10)  # buckets
    closes: Ints = np.zeros(runs, dtype=np.int64)
    bucket = 0
    while state.ids.size:
        seg, bucket = state.segment, bucket + 1
        requests = int(reporting.requests_per_second * bucket / 10) - int(
            reporting.requests_per_second * (bucket - 1) / 10
        )
        weight = parts.weight[seg]
        wave = scenario.wave_at(state.position)
        rate = np.minimum(parts.rates[:, seg] * wave, 1.0)
        candidate = rng.binomial(requests, weight)
        bad = rng.binomial([requests - candidate, candidate], rate)
        state.position += candidate
        closes = np.maximum(closes, bucket + np.where(bad[0] > 0, late, 0))
        waits = (closes - bucket) * weight * reporting.requests_per_second / 10
        counts = np.stack([requests - bad[0] - bad[1], bad[0], bad[1]])
        summed = np.einsum("cr,rcb->rb", counts, fail[seg])
        also = None if passing is None else np.einsum("cr,rcb->rb", counts, passing[seg])
        gate.fold(summed, also, bad[0] + bad[1])
        gate.note(np.where(candidate > 0, state.position + waits.astype(np.int64), -1))
        state.segment = seg + (state.position >= parts.end[seg])
        rows = np.nonzero((state.segment < parts.end.size) & ~decided(gate))[0]
        if rows.size < state.ids.size:
            outcome.take(state.ids, gate)
            gate.keep(rows)
            state.keep(rows)
            closes = closes[rows]
    return outcome
