"""One gate: wealth against "within the margin" (fail) and against "outside the margin" (pass).

A rule turns a request into a class and says what each class bets. A fold keeps the wealth of many
rows at once: a live rollout by request is one row, a live rollout by unit one row a test, and a
simulation one row a run: what is simulated is what runs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from redpoll.facts import STATUSES
from redpoll.rollout.evidence_records import GateSpec
from redpoll.stats.bets import (
    FAIL_RATIOS,
    PASS_RATIOS,
    event_log_factors,
    margin_log_factors,
    ratio_weight,
)
from redpoll.stats.latency import (
    SLOWEST,
    STAKES,
    LatencyReference,
    bins_of,
    latency_log_factors,
    scaled_edges,
)
from redpoll.stats.wealth import Wealth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OK = STATUSES.index("ok")
SILENT = tuple(STATUSES.index(name) for name in ("timeout", "lost"))  # no answer, however slow
GOOD, BAD_STABLE, BAD_CANDIDATE = 0, 1, 2  # classes of the error gate
UNCOUNTED = -1


class Bucket(NamedTuple):
    """Requests that count, with their answers: arrays [requests] in order of arrival."""

    arm: Ints  # 0 stable, 1 candidate
    weight: Floats  # of the candidate, then in force
    unit: NDArray[np.uint64]  # hashes; 0 where requests are the unit
    generation: Ints  # of the route
    status: Ints  # index into facts.STATUSES
    latency_us: Ints

    def only(self, which: NDArray[Any]) -> Bucket:
        """Some of its requests, by mask or by index."""
        return Bucket(*(column[which] for column in self))


class Rule(Protocol):
    """What a gate makes of a request."""

    spec: GateSpec
    events: Ints  # [classes]: 1 where the class is a bad event, which times later starts
    bets: NDArray[np.bool_]  # [classes]: whether the class bets at all
    fail_stakes: Floats
    pass_stakes: Floats | None

    def classes_of(self, arm: Ints, status: Ints, latency_us: NDArray[Any]) -> Ints:
        """The class of each request, or UNCOUNTED. All [requests]."""
        ...

    def learn(self, bucket: Bucket) -> None:
        """Note of a folded bucket what later ones need."""
        ...

    def fail_table(self, weight: float) -> Floats:
        """Log factors [classes, bets] against "within the margin"."""
        ...

    def pass_table(self, weight: float) -> Floats:
        """Log factors [classes, bets] against "outside the margin"."""
        ...


class ErrorRule:
    """Bad requests. Classes: good (either arm), the stable's bad one, the candidate's bad one."""

    def __init__(self, spec: GateSpec) -> None:
        self.spec = spec
        absolute = spec.margin_ratio is None and spec.margin > 0.0
        self.events: Ints = np.array([0, 1, 1], dtype=np.int64)
        self.bets = np.array([absolute, True, True])
        self.fail_stakes: Floats = np.full(len(FAIL_RATIOS), 1.0 / len(FAIL_RATIOS))
        self.pass_stakes: Floats | None = None
        if spec.has_margin:
            self.pass_stakes = np.full(len(PASS_RATIOS), 1.0 / len(PASS_RATIOS))
        self._absolute = absolute
        self._tables: dict[tuple[float, int], Floats] = {}

    def classes_of(self, arm: Ints, status: Ints, latency_us: NDArray[Any]) -> Ints:
        """Good, or whose bad one."""
        return np.where(status == OK, GOOD, BAD_STABLE + arm)

    def learn(self, bucket: Bucket) -> None:
        """Nothing."""

    def fail_table(self, weight: float) -> Floats:
        """Log factors [3, 6]."""
        return self._table(FAIL_RATIOS, weight, +1)

    def pass_table(self, weight: float) -> Floats:
        """Log factors [3, 6]."""
        return self._table(PASS_RATIOS, weight, -1)

    def _table(self, ratios: tuple[float, ...], weight: float, sign: int) -> Floats:
        found = self._tables.get((weight, sign))
        if found is not None:
            return found
        if self._absolute:
            found = margin_log_factors(ratios, weight, self.spec.margin, sign)
        else:
            bad = event_log_factors(ratios, ratio_weight(weight, self.spec.margin_ratio or 1.0))
            found = np.concatenate([np.zeros((1, bad.shape[1])), bad])
        self._tables[weight, sign] = found
        return found


class LatencyRule:
    """Latencies. Classes: the reference's for the stable, then the reference's for the candidate.

    ``errors_are_slow``: a request without a usable answer counts as the slowest, in both arms. Else
    (where a margin of errors is allowed) only time-outs and lost ones do; another failure counts, in
    both arms, as the stable's last usable answer of an earlier bucket did. To leave it out instead
    would be wrong: an arm that fails less would have more of its requests counted, and while all are
    slower (or faster) than the reference that alone would be evidence. Nor is a failure ever counted
    at its own time: a candidate that mends a fast error would look slower.
    """

    def __init__(self, spec: GateSpec, reference: LatencyReference, errors_are_slow: bool) -> None:
        self.spec, self.reference = spec, reference
        self.usual = UNCOUNTED  # the bin of the stable's last usable answer
        self._slow_errors = errors_are_slow
        self._scaled = scaled_edges(spec.margin_ratio or 1.0)
        tail = np.arange(reference.classes) >= reference.tail(0.05)
        self.events: Ints = np.tile(tail, 2).astype(np.int64)
        self.bets = np.ones(2 * reference.classes, dtype=bool)
        self.fail_stakes: Floats = np.array(STAKES)
        self.pass_stakes: Floats | None = np.array(STAKES) if spec.has_margin else None
        self._tables: dict[tuple[float, int], Floats] = {}

    def classes_of(self, arm: Ints, status: Ints, latency_us: NDArray[Any]) -> Ints:
        """The latency's class; the candidate's latency is divided by the margin's ratio first."""
        bins = np.where(arm == 1, bins_of(latency_us, self._scaled), bins_of(latency_us))
        usable = status == OK
        if not usable.all():
            bins[~usable] = SLOWEST
        if self._slow_errors:
            return self.reference.classes_of(bins) + arm * self.reference.classes
        failed = ~(usable | np.isin(status, SILENT))
        bins[failed] = self.usual
        found = self.reference.classes_of(bins) + arm * self.reference.classes
        if self.usual == UNCOUNTED:
            found[failed] = UNCOUNTED
        return found

    def learn(self, bucket: Bucket) -> None:
        """The stable's last usable answer."""
        stable = np.flatnonzero((bucket.arm == 0) & (bucket.status == OK))
        if stable.size:
            self.usual = int(bins_of(bucket.latency_us[stable[-1]]))

    def fail_table(self, weight: float) -> Floats:
        """Log factors [2 * classes, 9]."""
        return self._table(weight, +1)

    def pass_table(self, weight: float) -> Floats:
        """Log factors [2 * classes, 9]."""
        return self._table(weight, -1)

    def _table(self, weight: float, sign: int) -> Floats:
        found = self._tables.get((weight, sign))
        if found is None:
            found = latency_log_factors(self.reference, weight, sign).reshape(-1, len(STAKES))
            self._tables[weight, sign] = found
        return found


class Standing(NamedTuple):
    """Where one side of a gate stands. ``at``: when it reached its limit, None: not yet.

    ``log_limit`` is the gate's own, log 1 / alpha, whichever row speaks: a row with a share of alpha
    has its e-value multiplied by that share, which reaches the one limit exactly when the e-value
    reaches 1 / (alpha x share).
    """

    log_evidence: float
    log_limit: float
    at: int | None


class Side:
    """Wealth of [rows], each with its limit, and when that was first reached (-1: not yet).

    ``log_limit`` is the gate's, ``shares`` [rows] each row's part of the gate's alpha.
    """

    def __init__(self, stakes: Floats, log_limit: float, shares: Floats, late: bool) -> None:
        rows = shares.size
        self.wealth = Wealth(stakes, rows, late=late)
        self.log_limit = log_limit
        self.log_limits: Floats = log_limit - np.log(shares)
        self.at: Ints = np.full(rows, -1, dtype=np.int64)
        self.peak: Floats = np.zeros(rows)

    def note(self, at: Ints) -> None:
        """Note ``at`` [rows] where a limit is reached for the first time; -1: not now."""
        rows = np.nonzero((self.wealth.bound() >= self.log_limits) & (self.at < 0) & (at >= 0))[0]
        if rows.size:
            value = self.wealth.log_evidence(rows)
            reached = value >= self.log_limits[rows]
            rows = rows[reached]
            self.at[rows] = at[rows]
            self.peak[rows] = value[reached]

    def standing(self) -> Standing:
        """Of the row that reached its limit first, or is nearest to it, against the gate's limit."""
        now = self.wealth.log_evidence()
        now = np.where(self.at >= 0, np.maximum(now, self.peak), now)
        reached = np.nonzero(self.at >= 0)[0]
        if reached.size:
            row = int(reached[np.argmin(self.at[reached])])
        else:
            row = int(np.argmax(now - self.log_limits))
        weighed = float(now[row]) - (float(self.log_limits[row]) - self.log_limit)
        if self.at[row] < 0:
            return Standing(weighed, self.log_limit, None)
        return Standing(max(weighed, self.log_limit), self.log_limit, int(self.at[row]))

    def keep(self, rows: Ints) -> None:
        """Drop all rows but these."""
        self.wealth.keep(rows)
        self.log_limits, self.at, self.peak = self.log_limits[rows], self.at[rows], self.peak[rows]

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return self.wealth.state() | {"at": self.at.tolist(), "peak": self.peak.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.wealth.restore(state)
        self.at = np.array(state["at"], dtype=np.int64)
        self.peak = np.array(state["peak"], dtype=np.float64)


class GateFold:
    """Both sides of a gate over [rows]: one live rollout, many simulated runs, or tests of units.

    ``shares``: each row's part of the gate's alpha. Both sides have their own limit, 1 / (alpha x
    share): passing takes nothing of what failing has.
    """

    def __init__(self, rule: Rule, shares: Floats, *, late: bool) -> None:
        limit = log_limit(rule.spec.alpha)
        self.rule = rule
        self.fails = Side(rule.fail_stakes, limit, shares, late)
        self.passes: Side | None = None
        if rule.pass_stakes is not None:
            self.passes = Side(rule.pass_stakes, limit, shares, late)

    def fold(self, fail: Floats, passing: Floats | None, events: Ints) -> None:
        """One bucket of each row: summed log factors [rows, bets], bad events [rows]."""
        self.fails.wealth.fold(fail, events)
        if self.passes is not None and passing is not None:
            self.passes.wealth.fold(passing, events)

    def note(self, at: Ints) -> None:
        """Note ``at`` [rows] where a side reached its limit; -1 where the bucket may not decide.

        Only a bucket with a request of the candidate may: the silence of one arm is no verdict.
        """
        self.fails.note(at)
        if self.passes is not None:
            self.passes.note(at)

    def fold_bucket(self, bucket: Bucket) -> None:
        """A closed bucket of a single row. Counts first: the order of requests does not matter."""
        rule = self.rule
        found = rule.classes_of(bucket.arm, bucket.status, bucket.latency_us)
        fail = np.zeros((1, rule.fail_stakes.size))
        passing = None if rule.pass_stakes is None else np.zeros((1, rule.pass_stakes.size))
        events, weights = 0, distinct(bucket.weight)
        for weight in weights:
            mine = found if len(weights) == 1 else found[bucket.weight == weight]
            counts = np.bincount(mine[mine >= 0], minlength=rule.bets.size)
            some = np.flatnonzero(counts * rule.bets)
            if not some.size:
                continue
            number = counts[some, None]
            events += int((counts * rule.events).sum())
            fail[0] += (rule.fail_table(weight)[some] * number).sum(axis=0)
            if passing is not None:
                passing[0] += (rule.pass_table(weight)[some] * number).sum(axis=0)
        if fail.any():
            self.fold(fail, passing, np.array([events]))

    def keep(self, rows: Ints) -> None:
        """Drop all rows but these: what a simulation does with runs that are over."""
        self.fails.keep(rows)
        if self.passes is not None:
            self.passes.keep(rows)

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        passes = None if self.passes is None else self.passes.state()
        return {"fails": self.fails.state(), "passes": passes}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.fails.restore(state["fails"])
        if self.passes is not None:
            self.passes.restore(state["passes"])


def distinct(weights: Floats) -> list[float]:
    """The weights of a bucket, ascending; nearly always one."""
    first = float(weights[0])
    return [first] if bool((weights == first).all()) else sorted(set(weights.tolist()))


def log_limit(alpha: float) -> float:
    """What the log evidence of a gate with this part of alpha must reach."""
    return -math.log(alpha)
