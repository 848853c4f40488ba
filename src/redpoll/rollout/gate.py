"""One gate: wealth against "within the margin" (fail) and against "outside the margin" (pass)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redpoll.rollout.evidence_records import GateSpec
from redpoll.stats.bets import (
    FAIL_RATIOS,
    PASS_RATIOS,
    event_log_factors,
    margin_log_factors,
    ratio_weight,
)
from redpoll.stats.wealth import Wealth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GOOD, BAD_STABLE, BAD_CANDIDATE = 0, 1, 2  # classes of the error gate


class ErrorRule:
    """How the error gate bets on each class of request. Classes: good, stable's bad, candidate's bad."""

    def __init__(self, spec: GateSpec) -> None:
        self.spec = spec
        self.events: Ints = np.array([0, 1, 1], dtype=np.int64)
        self.fail_stakes: Floats = np.full(len(FAIL_RATIOS), 1.0 / len(FAIL_RATIOS))
        self.pass_stakes: Floats | None = None
        if spec.has_margin:
            self.pass_stakes = np.full(len(PASS_RATIOS), 1.0 / len(PASS_RATIOS))

    def fail_table(self, weight: float) -> Floats:
        """Log factors [3, bets] against "within the margin"."""
        return self._table(FAIL_RATIOS, weight, +1)

    def pass_table(self, weight: float) -> Floats:
        """Log factors [3, bets] against "outside the margin"."""
        return self._table(PASS_RATIOS, weight, -1)

    def _table(self, ratios: tuple[float, ...], weight: float, sign: int) -> Floats:
        if self.spec.margin_ratio is None and self.spec.margin:
            return margin_log_factors(ratios, weight, self.spec.margin, sign)
        ratio = self.spec.margin_ratio or 1.0
        bad = event_log_factors(ratios, ratio_weight(weight, ratio))
        return np.concatenate([np.zeros((1, bad.shape[1])), bad])


class Side:
    """One wealth with its limit, and whether it was ever reached: [runs]. ``at`` -1: not yet."""

    def __init__(self, stakes: Floats, log_limit: float, runs: int) -> None:
        self.wealth = Wealth(stakes, runs)
        self.log_limit = log_limit
        self.at: Ints = np.full(runs, -1, dtype=np.int64)
        self.peak: Floats = np.zeros(runs)

    def fold(self, increments: Floats, events: Ints, at: Ints) -> None:
        """One bucket of each run; ``at`` is what to note where the limit is reached."""
        self.wealth.fold(increments, events)
        rows = np.nonzero((self.wealth.bound() >= self.log_limit) & (self.at < 0))[0]
        if rows.size:
            value = self.wealth.log_evidence(rows)
            reached = value >= self.log_limit
            rows = rows[reached]
            self.at[rows] = at[rows]
            self.peak[rows] = value[reached]

    def log_evidence(self) -> Floats:
        """Now, or what it was when it reached its limit, whichever is larger."""
        now = self.wealth.log_evidence()
        return np.where(self.at >= 0, np.maximum(now, self.peak), now)

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return self.wealth.state() | {"at": self.at.tolist(), "peak": self.peak.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.wealth.restore(state)
        self.at = np.array(state["at"], dtype=np.int64)
        self.peak = np.array(state["peak"], dtype=np.float64)


class GateFold:
    """A gate over many runs at once; a live rollout is one run."""

    def __init__(self, rule: ErrorRule, runs: int = 1) -> None:
        log_limit = -math.log(rule.spec.alpha)
        self.rule = rule
        self.fails = Side(rule.fail_stakes, log_limit, runs)
        self.passes: Side | None = None
        if rule.pass_stakes is not None:
            self.passes = Side(rule.pass_stakes, log_limit, runs)

    def fold_bucket(self, groups: dict[float, dict[int, int]], at_us: int) -> None:
        """A closed bucket of a live rollout: weight -> class -> count. The order does not matter."""
        at = np.array([at_us], dtype=np.int64)
        events = 0
        fail_sum = np.zeros((1, self.rule.fail_stakes.size))
        pass_sum = None if self.rule.pass_stakes is None else np.zeros((1, self.rule.pass_stakes.size))
        for weight in sorted(groups):
            classes = sorted(groups[weight])
            counts = np.array([groups[weight][c] for c in classes], dtype=np.int64)
            events += int((self.rule.events[classes] * counts).sum())
            fail_sum[0] += (self.rule.fail_table(weight)[classes] * counts[:, None]).sum(axis=0)
            if pass_sum is not None:
                pass_sum[0] += (self.rule.pass_table(weight)[classes] * counts[:, None]).sum(axis=0)
        number = np.array([events], dtype=np.int64)
        self.fails.fold(fail_sum, number, at)
        if self.passes is not None and pass_sum is not None:
            self.passes.fold(pass_sum, number, at)

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "fails": self.fails.state(),
            "passes": None if self.passes is None else self.passes.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.fails.restore(state["fails"])
        if self.passes is not None:
            self.passes.restore(state["passes"])
