"""A gate of a live rollout: its rule, its fold and, by unit, its ledgers; and the split's own test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from redpoll.errors import RedpollError, closest
from redpoll.rollout.evidence_records import EvidenceSpec, GateSpec
from redpoll.rollout.gate import (
    OK,
    UNCOUNTED,
    Bucket,
    ErrorRule,
    GateFold,
    LatencyRule,
    Rule,
    Standing,
    distinct,
    log_limit,
)
from redpoll.rollout.units import Ledger, UnitLedgers, fold_units, unit_gate
from redpoll.stats.bets import SPLIT_RATIOS, split_log_factors
from redpoll.stats.latency import BINS, ENOUGH, SLOWEST, LatencyReference, bins_of
from redpoll.stats.wealth import Wealth

METRICS = ("error_rate", "latency")


def fresh(bucket: Bucket, stale: int) -> Bucket:
    """Without the requests whose route is older than generation ``stale``."""
    return bucket.only(bucket.generation >= stale) if stale else bucket


class LiveGate:
    """One gate of one rollout. ``rule`` is None while a latency reference is being gathered."""

    def __init__(self, spec: GateSpec, evidence: EvidenceSpec) -> None:
        if spec.metric not in METRICS or spec.kind != "guardrail":
            raise RedpollError(
                "RP-402",
                f"A gate on {spec.metric!r} of kind {spec.kind!r} is not built yet; guardrails on"
                f" {' and '.join(METRICS)} are.{closest(spec.metric, METRICS)}",
            )
        self.spec = spec
        self.by_unit = evidence.unit != "request"
        self.length = evidence.length
        self.errors_are_slow = not any(
            gate.metric == "error_rate" and gate.has_margin for gate in evidence.gates
        )
        self.rule: Rule | None = None
        self.fold: GateFold | None = None
        self.ledgers: UnitLedgers | None = UnitLedgers() if self.by_unit else None
        self.gathered = np.zeros(BINS, dtype=np.int64)
        if spec.metric == "error_rate":
            self._begin(ErrorRule(spec))
        elif evidence.latency_reference is not None:
            self._begin(LatencyRule(spec, evidence.latency_reference, self.errors_are_slow))

    def _begin(self, rule: Rule) -> None:
        self.rule = rule
        self.fold = unit_gate(rule) if self.by_unit else GateFold(rule, np.ones(1), late=True)

    def bucket(self, bucket: Bucket, stale: int, requests: int, at_us: int) -> None:
        """One closed bucket.

        ``requests`` were counted before it; units whose route is older than generation ``stale``
        were drawn with an older salt and do not bet.
        """
        if self.rule is None or self.fold is None:
            self._gather(bucket)
            return
        if self.ledgers is None:
            self.fold.fold_bucket(bucket)
        else:
            self.ledgers.open_due(requests, self.length)
            fold_units(self.fold, self.ledgers, fresh(bucket, stale))
        self.rule.learn(bucket)
        if bucket.arm.any():
            self.fold.note(np.full(self.fold.fails.at.size, at_us, dtype=np.int64))

    def _gather(self, bucket: Bucket) -> None:
        """A first deploy: the stable's first 500 requests are the reference, and are not tested."""
        stable = bucket.only(bucket.arm == 0)
        bins = np.where(stable.status == OK, bins_of(stable.latency_us), SLOWEST)
        self.gathered += np.bincount(bins, minlength=BINS)
        if self.gathered.sum() >= ENOUGH and self.gathered[:SLOWEST].any():
            reference = LatencyReference.from_counts(self.gathered)
            self._begin(LatencyRule(self.spec, reference, self.errors_are_slow))

    def fails(self) -> Standing:
        """Against "within the margin"."""
        if self.fold is None:
            return Standing(0.0, log_limit(self.spec.alpha), None)
        return self.fold.fails.standing()

    def passes(self) -> Standing | None:
        """Against "outside the margin"; None where nothing can be proven."""
        if not self.spec.has_margin:
            return None
        if self.fold is None or self.fold.passes is None:
            return Standing(0.0, log_limit(self.spec.alpha), None)
        return self.fold.passes.standing()

    def new_salt(self) -> None:
        """Units bet anew; wealth is kept."""
        if self.ledgers is not None:
            self.ledgers.clear()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        latency = self.rule if isinstance(self.rule, LatencyRule) else None
        return {
            "fold": None if self.fold is None else self.fold.state(),
            "ledgers": None if self.ledgers is None else self.ledgers.state(),
            "gathered": self.gathered.tolist(),
            "reference": None if latency is None else latency.reference,
            "usual": UNCOUNTED if latency is None else latency.usual,
        }

    def restore(self, state: dict[str, Any], reference: LatencyReference | None) -> None:
        """Take over what :meth:`state` gave."""
        self.gathered = np.array(state["gathered"], dtype=np.int64)
        if self.rule is None and reference is not None:
            self._begin(LatencyRule(self.spec, reference, self.errors_are_slow))
        if isinstance(self.rule, LatencyRule):
            self.rule.usual = state["usual"]
        if self.fold is not None and state["fold"] is not None:
            self.fold.restore(state["fold"])
        if self.ledgers is not None and state["ledgers"] is not None:
            self.ledgers.restore(state["ledgers"])


class Split:
    """Whether the arms get what was drawn. By unit each bets once, at its first visit."""

    LIMIT = 1000.0

    def __init__(self, unit: str) -> None:
        size = len(SPLIT_RATIOS)
        self.wealth = Wealth(np.full(size, 1.0 / size))
        self.ledger: Ledger | None = None if unit == "request" else Ledger()
        self.peak = 0.0
        self._tables: dict[float, NDArray[np.float64]] = {}

    def bucket(self, bucket: Bucket, stale: int) -> None:
        """One closed bucket."""
        if self.ledger is not None:
            bucket = fresh(bucket, stale)
            first = self.ledger.visits(bucket.unit.tolist())
            bucket = bucket.only(np.array([index for index, _ in first], dtype=np.int64))
        if not bucket.arm.size:
            return
        total = np.zeros((1, len(SPLIT_RATIOS)))
        for weight in distinct(bucket.weight):
            numbers = np.bincount(bucket.arm[bucket.weight == weight], minlength=2)
            total[0] += (self._factors(weight) * numbers[:, None]).sum(axis=0)
        self.wealth.fold(total, np.array([bucket.arm.size]))
        if float(self.wealth.bound()[0]) > self.peak:
            self.peak = max(self.peak, float(self.wealth.log_evidence()[0]))

    def _factors(self, weight: float) -> NDArray[np.float64]:
        found = self._tables.get(weight)
        if found is None:
            found = self._tables[weight] = split_log_factors(weight)
        return found

    def log_evidence(self) -> float:
        """The most that closed buckets ever said against "as drawn"."""
        return self.peak

    def new_salt(self) -> None:
        """Every unit is new again."""
        if self.ledger is not None:
            self.ledger.counts.clear()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        ledger = None if self.ledger is None else self.ledger.state()
        return {"wealth": self.wealth.state(), "ledger": ledger, "peak": self.peak}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.wealth.restore(state["wealth"])
        self.peak = state["peak"]
        if self.ledger is not None:
            self.ledger.restore(state["ledger"])
