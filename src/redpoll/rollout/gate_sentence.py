"""What a gate says, in one sentence that a person reads at three in the morning."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from redpoll.rollout.evidence_records import ArmReading, GateSpec
from redpoll.rollout.figures import percent
from redpoll.rollout.gate import (
    BAD_CANDIDATE,
    BAD_STABLE,
    GOOD,
    OK,
    ErrorRule,
    Floats,
    GateFold,
    Ints,
    LatencyRule,
)
from redpoll.rollout.gate_live import LiveGate, Split
from redpoll.stats.latency import EDGES_US, ENOUGH, SLOWEST, quantile_us
from redpoll.stats.planning import growth, requests_needed
from redpoll.stats.wealth import LATE_STAKE

NB = "\u00a0"
FORESEEABLE = 5_000_000  # requests; more than that is no help to anybody
ENOUGH_STEP = 20  # usable answers of each arm at a weight, before they speak for it
ENOUGH_BINS = 100  # usable answers of the stable; below, the reference speaks for it


class Latencies(NamedTuple):
    """Both arms' usable answers by latency, [2, BINS]: of the whole rollout, and at today's weight.

    Only within one weight are the arms comparable: over several, the candidate's answers are mostly
    of the last step, and the stable's of the first.
    """

    whole: Ints
    step: Ints | None


def rate(bad: int, requests: int) -> str:
    """``5.9%``, ``0.6%``, ``0.04%``, ``0%``: two figures that matter, never more than needed.

    >>> rate(8, 136), rate(1, 2500), rate(0, 3), rate(136, 136)
    ('5.9%', '0.04%', '0%', '100%')
    """
    percent = 100.0 * bad / requests if requests else 0.0
    if percent == 0.0 or percent >= 99.95:
        return f"{percent:.0f}%"
    if percent >= 0.095:
        return f"{percent:.1f}%"
    return f"{percent:.{1 - math.floor(math.log10(percent))}f}".rstrip("0") + "%"


def milliseconds(us: float) -> str:
    """``38 ms``, ``0.8 ms``, with a no-break space."""
    ms = us / 1000.0
    return f"{ms:,.0f}{NB}ms" if ms >= 9.95 else f"{ms:.1f}{NB}ms"


def about(number: float) -> str:
    """A guess looks like one: two figures. ``about 1,400``.

    >>> about(1387), about(7.2)
    ('about 1,400', 'about 10')
    """
    size = 10 ** max(1, math.floor(math.log10(max(number, 1.0))) - 1)
    return f"about {math.ceil(number / size) * size:,}"


def allowed(spec: GateSpec) -> str:
    """The margin in words: ``20% more errors``, ``0.2 points more errors``, ``20% slower``."""
    what = "more errors" if spec.metric == "error_rate" else "slower"
    if spec.margin_ratio is not None:
        return f"{(spec.margin_ratio - 1.0) * 100:.3g}% {what}"
    return f"{spec.margin * 100:.3g} points {what}"


def gate_sentence(
    gate: LiveGate,
    answer: str,
    stable: ArmReading,
    candidate: ArmReading,
    weight: float,
    latencies: Latencies,
) -> str:
    """The sentence of a gate. ``weight``: the candidate's, now."""
    if not candidate.requests:
        return f"Undecided, no request of {candidate.version} is counted yet."
    if gate.spec.metric == "error_rate":
        return _errors(gate, answer, stable, candidate, weight)
    return _latency(gate, answer, stable, candidate, weight, latencies)


def _errors(
    gate: LiveGate, answer: str, stable: ArmReading, candidate: ArmReading, weight: float
) -> str:
    said = (
        f"{candidate.version} failed {rate(candidate.bad, candidate.requests)} of"
        f" {candidate.requests:,} requests, {stable.version} failed"
        f" {rate(stable.bad, stable.requests)} of {stable.requests:,}"
    )
    if answer == "fail":
        return f"{said}; {allowed(gate.spec)} are allowed." if gate.spec.has_margin else f"{said}."
    if answer == "pass":
        return f"{said}: at most {allowed(gate.spec)}."
    bad_rate = (stable.bad + candidate.bad + 0.5) / (stable.requests + candidate.requests + 1.0)
    if gate.spec.has_margin:
        even = {
            GOOD: 1 - bad_rate,
            BAD_STABLE: (1 - weight) * bad_rate,
            BAD_CANDIDATE: weight * bad_rate,
        }
        return _undecided(
            said, _to_pass(gate, weight, [even[kind] for kind in range(3)]), gate.spec
        )
    if not stable.bad and not candidate.bad:
        return (
            f"Undecided, no failure in {candidate.requests:,} requests of {candidate.version}, none in"
            f" {stable.requests:,} of {stable.version}."
        )
    shows = _to_show_double(gate, weight, bad_rate)
    if shows is None:
        return f"Undecided: {said}."
    return f"Undecided: {said}; twice the errors would show within {about(shows)} requests."


def _latency(
    gate: LiveGate,
    answer: str,
    stable: ArmReading,
    candidate: ArmReading,
    weight: float,
    latencies: Latencies,
) -> str:
    if gate.rule is None:
        seen = int(gate.gathered.sum())
        return f"Undecided: the first {ENOUGH} requests of {stable.version} set the scale, {seen} so far."
    ratio = gate.spec.margin_ratio or 1.0
    said, shown = _speeds(stable, candidate, weight, latencies, ratio)
    slower = f"more than {allowed(gate.spec)}" if gate.spec.has_margin else "slower"
    if answer == "fail":
        late = "" if shown else " It was so for a part of the time only, which decided."
        return f"{candidate.version} is {slower} than {stable.version}: {said}.{late}"
    if answer == "pass":
        return f"{candidate.version} is at most {allowed(gate.spec)} than {stable.version}: {said}."
    if not gate.spec.has_margin:
        return f"Undecided: {said}."
    needed = None
    if isinstance(gate.rule, LatencyRule):
        needed = _to_pass(gate, weight, _latency_classes(gate.rule, weight, latencies.whole[0]))
    return _undecided(said, needed, gate.spec)


def _speeds(
    stable: ArmReading, candidate: ArmReading, weight: float, latencies: Latencies, ratio: float
) -> tuple[str, bool]:
    """Median and 95th percentile of both arms in words, and whether the candidate's show ``ratio``."""
    bins, where = latencies.whole, ""
    step = latencies.step
    if step is not None and step[1].sum() < bins[1].sum() and step.sum(axis=1).min() >= ENOUGH_STEP:
        bins, where = step, f"at {percent(weight)} "
    parts, shown = [], bool(candidate.bad)
    halves = [quantile_us(bins[arm], 0.5) for arm in (0, 1)]
    tails = [quantile_us(bins[arm], 0.95) for arm in (0, 1)]
    if halves[0] is not None and halves[1] is not None and tails[0] and tails[1]:
        shown |= halves[1] > ratio * halves[0] or tails[1] > ratio * tails[0]
        parts = [
            f"{where}half of {candidate.version}'s answers took over {milliseconds(halves[1])},"
            f" {stable.version}'s {milliseconds(halves[0])}",
            f"1 in 20 over {milliseconds(tails[1])} against {milliseconds(tails[0])}",
        ]
    if candidate.bad or not parts:
        parts.append(
            f"{candidate.bad:,} of {candidate.requests:,} requests had no usable answer against"
            f" {stable.bad:,} of {stable.requests:,}"
        )
    return "; ".join(parts), shown


def _undecided(said: str, needed: float | None, spec: GateSpec) -> str:
    if needed is None:
        return f"Undecided whether {allowed(spec)} is excluded: {said}."
    return f"Undecided, {about(needed)} more requests to exclude {allowed(spec)}: {said}."


def _to_pass(gate: LiveGate, weight: float, probabilities: ArrayLike) -> float | None:
    """Candidate requests still wanted to pass, if the candidate is as good as the stable."""
    if gate.by_unit or gate.fold is None or gate.fold.passes is None or not weight:
        return None
    wealth = gate.fold.passes.wealth
    grows = growth(gate.fold.rule.pass_table(weight), probabilities)
    return _candidates(
        requests_needed(
            wealth.from_start[0],
            wealth.log_stakes + math.log(1.0 - LATE_STAKE),
            grows,
            float(gate.fold.passes.log_limits[0]),
        ),
        weight,
    )


def _to_show_double(gate: LiveGate, weight: float, bad_rate: float) -> float | None:
    """Candidate requests within which twice the errors would fail the gate, from nothing."""
    fold: GateFold | None = gate.fold
    if gate.by_unit or fold is None or not isinstance(fold.rule, ErrorRule) or not weight:
        return None
    bad = min(2.0 * bad_rate, 1.0) * weight
    chances = [1.0 - bad - bad_rate * (1.0 - weight), bad_rate * (1.0 - weight), bad]
    stakes = fold.fails.wealth.log_stakes + math.log(1.0 - LATE_STAKE)
    grows = growth(fold.rule.fail_table(weight), chances)
    limit = float(fold.fails.log_limits[0])
    return _candidates(requests_needed(np.zeros(stakes.size), stakes, grows, limit), weight)


def _candidates(requests: float | None, weight: float) -> float | None:
    if requests is None or requests * weight > FORESEEABLE:
        return None
    return max(requests * weight, 1.0)


def _latency_classes(rule: LatencyRule, weight: float, stable_bins: Ints) -> Floats:
    """Chances of each class if the candidate is exactly as fast as the stable."""
    seen = stable_bins[:SLOWEST].astype(np.float64)
    reference, classes = rule.reference, rule.reference.classes
    if seen.sum() < ENOUGH_BINS:
        seen = np.zeros(SLOWEST)
        seen[reference.first : reference.first + len(reference.counts)] = reference.counts
    held = np.flatnonzero(seen)
    share = seen[held] / seen.sum()
    low, high = np.array([1, *EDGES_US])[held], np.array([*EDGES_US, 2 * EDGES_US[-1]])[held]
    middle = np.sqrt(low * high.astype(np.float64))
    ok, chances = np.full(held.size, OK), np.zeros(2 * classes)
    for arm, part in ((0, 1.0 - weight), (1, weight)):
        np.add.at(chances, rule.classes_of(np.full(held.size, arm), ok, middle), part * share)
    return chances


def split_sentence(log_evidence: float, stable: ArmReading, candidate: ArmReading) -> str:
    """Empty while the split is as drawn; else what was seen."""
    if log_evidence < math.log(Split.LIMIT):
        return ""
    both = stable.requests + candidate.requests
    return (
        f"{candidate.version} got {rate(candidate.requests, both)} of {both:,} requests, which is not"
        " what was drawn."
    )
