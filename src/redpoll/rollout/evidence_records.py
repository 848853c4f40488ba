"""What evidence is asked for, and what it says: the records that gates, machine and pages share.

Times are µs since the epoch, latencies µs, rates fractions, evidence natural logarithms of e-values
(plain ones as properties).
"""

from __future__ import annotations

import math

import msgspec

from redpoll.catalog import Plan, Record
from redpoll.errors import RedpollError
from redpoll.stats.latency import LatencyReference

LARGEST = 1e300  # plain evidence is cut here, so that it stays a number in JSON


def plain(log_value: float) -> float:
    """An e-value from its logarithm, never infinite.

    >>> plain(0.0), plain(1e6)
    (1.0, 1e+300)
    """
    return math.exp(log_value) if log_value < 690.0 else LARGEST


class GateSpec(Record, frozen=True, kw_only=True):
    """One gate with its part of the rollout's alpha. ``margin_ratio`` wins over ``margin``."""

    metric: str  # error_rate | latency
    kind: str = "guardrail"
    alpha: float = 0.05
    margin: float = 0.0
    margin_ratio: float | None = None

    @property
    def has_margin(self) -> bool:
        """Whether "within the margin" can be proven: equality never can."""
        if self.margin_ratio is not None:
            return self.margin_ratio > 1.0
        return self.margin > 0.0


class EvidenceSpec(Record, frozen=True, kw_only=True):
    """All that a fold of evidence depends on, frozen when the rollout starts.

    ``length``: requests of both arms that the plan asks for (``plan.length``); it times the later
    tests of units. ``latency_reference``: None takes the stable's first 500 requests, untested.
    Requests with a route generation below ``since_generation`` are not counted.
    """

    rollout_id: str
    model: str = ""  # empty: any
    stable: str = "stable"  # versions' names, for sentences
    candidate: str = "candidate"
    unit: str = "request"  # request | user | session
    gates: tuple[GateSpec, ...] = ()
    length: float = 0.0
    latency_reference: LatencyReference | None = None
    since_generation: int = 0


def gate_specs(plan: Plan) -> tuple[GateSpec, ...]:
    """The plan's gates, each with its part of alpha by declared share.

    Gates without a share take equal parts of what the others leave. RP-402 where shares exceed 1 or
    leave nothing.
    """
    declared = [gate.alpha_share for gate in plan.gates]
    left = 1.0 - sum(share for share in declared if share is not None)
    without = sum(share is None for share in declared)
    if (
        left < -1e-9
        or (without and left <= 1e-9)
        or any(s is not None and s <= 0 for s in declared)
    ):
        raise RedpollError(
            "RP-402",
            f"The gates' shares of alpha are {declared}: each must be above 0, together at most 1, and"
            " leave something for gates without a share. Change alpha_share.",
        )
    each = left / without if without else 0.0
    return tuple(
        GateSpec(
            metric=gate.metric,
            kind=gate.kind,
            alpha=plan.alpha * (each if share is None else share),
            margin=gate.margin or 0.0,
            margin_ratio=gate.margin_ratio,
        )
        for gate, share in zip(plan.gates, declared, strict=True)
    )


class GateReading(Record, frozen=True, kw_only=True):
    """A gate's answer now. Fail and pass, once reached in a closed bucket, stay reached."""

    metric: str
    kind: str
    answer: str  # pass | fail | undecided
    log_evidence: float
    log_limit: float
    sentence: str
    slice: str = "all"
    pass_log_evidence: float | None = None  # None: no margin, so nothing to prove
    pass_log_limit: float | None = None
    failed_us: int | None = None  # end of the closed bucket that reached the limit
    passed_us: int | None = None

    @property
    def evidence(self) -> float:
        """The e-value against "within the margin"."""
        return plain(self.log_evidence)

    @property
    def limit(self) -> float:
        """What ``evidence`` must reach to fail."""
        return plain(self.log_limit)

    @property
    def pass_evidence(self) -> float | None:
        """The e-value against "outside the margin"."""
        return None if self.pass_log_evidence is None else plain(self.pass_log_evidence)

    @property
    def pass_limit(self) -> float | None:
        """What ``pass_evidence`` must reach to pass."""
        return None if self.pass_log_limit is None else plain(self.pass_log_limit)


class ArmReading(Record, frozen=True, kw_only=True):
    """What one arm did, in closed buckets."""

    arm: str
    version: str
    requests: int = 0
    bad: int = 0
    by_status: dict[str, int] = msgspec.field(default_factory=dict)
    p50_us: float | None = None  # of usable answers
    p95_us: float | None = None


class Reading(Record, frozen=True, kw_only=True):
    """What the evidence says now: closed buckets only, except where it says open."""

    rollout_id: str
    gates: tuple[GateReading, ...]
    stable: ArmReading
    candidate: ArmReading
    requests: int = 0
    candidate_requests: int = 0
    by_weight: dict[float, int] = msgspec.field(
        default_factory=dict
    )  # weight -> candidate requests
    last_closed_us: int = 0  # everything that arrived before is counted
    known_us: int | None = None  # how far all streams were known then; None: nobody said
    open_requests: int = 0  # arrived, not yet counted
    oldest_open_us: int | None = None
    split_log_evidence: float = 0.0  # against "the split is as drawn"
    split_log_limit: float = math.log(1000.0)
    split_sentence: str = ""
    late: int = 0  # requests that were read after their bucket had closed; should stay 0
    epoch: int = 0
