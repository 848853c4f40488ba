"""Evidence of one rollout: a fold of journal headers, by bucket of arrival.

Requests and live Answers come in any order, from any stream. They are kept in open buckets of
100 ms of ``Request.time``; :meth:`Evidence.close` folds those whose requests all have their answer,
in order, into a state of constant size. So the same facts give the same evidence to the bit,
however they were read, and an incident in which one arm fails faster than the other convicts
nobody: both arms' requests of one moment are counted together.
"""

from __future__ import annotations

from typing import Any

import msgspec

from redpoll.facts import STATUSES, Answer, Entry, Request
from redpoll.rollout.evidence_records import (
    ArmReading,
    EvidenceSpec,
    GateReading,
    GateSpec,
    Reading,
    gate_specs,
    plain,
)
from redpoll.rollout.gate import GateFold, ErrorRule
from redpoll.stats.latency import LatencyReference

__all__ = [
    "ArmReading",
    "BUCKET_US",
    "Evidence",
    "EvidenceSpec",
    "GateReading",
    "GateSpec",
    "LatencyReference",
    "Reading",
    "gate_specs",
    "plain",
]

BUCKET_US = 100_000
ARM_INDEX = {"stable": 0, "candidate": 1}
OK = STATUSES.index("ok")


class Evidence:
    """The fold. ``add`` entries, ``close`` what is complete, ``read``; ``state``/``load`` checkpoint."""

    def __init__(self, spec: EvidenceSpec) -> None:
        self.spec = spec
        self._open: dict[str, list[Any]] = {}
        self._buckets: dict[int, list[str]] = {}
        self._early: dict[str, tuple[Any, ...]] = {}
        self._closed = 0  # buckets below this number are closed
        self._gates = [GateFold(ErrorRule(gate)) for gate in spec.gates if gate.metric == "error_rate"]
        self._status = [[0] * len(STATUSES), [0] * len(STATUSES)]
        self._by_weight: dict[float, int] = {}
        self._late = 0

    @classmethod
    def start(cls, spec: EvidenceSpec) -> Evidence:
        """Nothing known."""
        return cls(spec)

    def add(self, entry: Entry) -> None:
        """A fact, in any order and from any stream; what does not count is passed over."""
        fact = entry.fact
        kind = type(fact)
        if kind is Answer:
            self._answer(entry, fact)
        elif kind is Request:
            self._request(entry, fact)

    def _request(self, entry: Entry, fact: Any) -> None:
        arm = ARM_INDEX.get(fact.arm)
        weight = fact.arm_probability
        if fact.rollout_id != self.spec.rollout_id or arm is None or not 0.0 < weight < 1.0:
            return
        if fact.route_generation < self.spec.since_generation or fact.prediction_id in self._open:
            return
        bucket = entry.time_us // BUCKET_US
        if bucket < self._closed:
            self._late += 1
            return
        self._open[fact.prediction_id] = [arm, weight, self._early.pop(fact.prediction_id, None)]
        self._buckets.setdefault(bucket, []).append(fact.prediction_id)

    def _answer(self, entry: Entry, fact: Any) -> None:
        if fact.role != "live":
            return
        status = STATUSES.index(fact.status)
        rank = 2 if fact.status == "lost" else int(fact.status == "ok")
        answer = (rank, entry.time_us, entry.stream, entry.sequence, status, fact.latency_us)
        record = self._open.get(fact.prediction_id)
        if record is None:
            known = self._early.get(fact.prediction_id)
            self._early[fact.prediction_id] = answer if known is None else min(known, answer)
        elif record[2] is None or answer < record[2]:
            record[2] = answer

    def close(self, complete_us: int) -> None:
        """Every stream is complete up to ``complete_us``: fold the buckets that are whole, in order."""
        whole = complete_us // BUCKET_US
        for bucket in sorted(self._buckets):
            if bucket >= whole or any(self._open[i][2] is None for i in self._buckets[bucket]):
                whole = min(whole, bucket)
                break
            self._fold(bucket, self._buckets.pop(bucket))
        self._closed = max(self._closed, whole)
        self._early = {i: a for i, a in self._early.items() if a[1] > complete_us}

    def _fold(self, bucket: int, ids: list[str]) -> None:
        groups: dict[float, dict[int, int]] = {}
        for prediction_id in ids:
            arm, weight, answer = self._open.pop(prediction_id)
            kind = 0 if answer[4] == OK else 1 + arm
            group = groups.setdefault(weight, {})
            group[kind] = group.get(kind, 0) + 1
            self._status[arm][answer[4]] += 1
            if arm:
                self._by_weight[weight] = self._by_weight.get(weight, 0) + 1
        for gate in self._gates:
            gate.fold_bucket(groups, (bucket + 1) * BUCKET_US)

    def new_epoch(self, at_us: int, generation: int = 0) -> None:
        """A new salt from this Decision on: units bet anew; requests of older routes do not."""

    def read(self) -> Reading:
        """What the closed buckets say."""
        stable, candidate = self._arm(0), self._arm(1)
        oldest = min(self._buckets, default=None)
        return Reading(
            rollout_id=self.spec.rollout_id,
            gates=tuple(self._gate(gate, stable, candidate) for gate in self._gates),
            stable=stable,
            candidate=candidate,
            requests=stable.requests + candidate.requests,
            candidate_requests=candidate.requests,
            by_weight=dict(self._by_weight),
            last_closed_us=self._closed * BUCKET_US,
            open_requests=len(self._open),
            oldest_open_us=None if oldest is None else oldest * BUCKET_US,
            late=self._late,
        )

    def _arm(self, arm: int) -> ArmReading:
        counts = self._status[arm]
        return ArmReading(
            arm=("stable", "candidate")[arm],
            version=(self.spec.stable, self.spec.candidate)[arm],
            requests=sum(counts),
            bad=sum(counts) - counts[OK],
            by_status={name: n for name, n in zip(STATUSES, counts, strict=True) if n},
        )

    def _gate(self, gate: GateFold, stable: ArmReading, candidate: ArmReading) -> GateReading:
        failed, passes = int(gate.fails.at[0]), gate.passes
        passed = -1 if passes is None else int(passes.at[0])
        said = " ".join(
            f"{arm.version} failed {arm.bad / max(arm.requests, 1):.1%} of {arm.requests:,} requests."
            for arm in (candidate, stable)
        )
        return GateReading(
            metric=gate.rule.spec.metric,
            kind=gate.rule.spec.kind,
            answer="fail" if failed >= 0 else "pass" if passed >= 0 else "undecided",
            log_evidence=float(gate.fails.log_evidence()[0]),
            log_limit=gate.fails.log_limit,
            sentence=said if failed >= 0 else f"Undecided: {said}",
            pass_log_evidence=None if passes is None else float(passes.log_evidence()[0]),
            pass_log_limit=None if passes is None else passes.log_limit,
            failed_us=failed if failed >= 0 else None,
            passed_us=passed if passed >= 0 else None,
        )

    def state(self) -> bytes:
        """A checkpoint; :meth:`load` goes on from it as if nothing had happened."""
        return msgspec.msgpack.encode(
            {
                "spec": self.spec,
                "open": self._open,
                "buckets": list(self._buckets.items()),
                "early": self._early,
                "closed": self._closed,
                "gates": [gate.state() for gate in self._gates],
                "status": self._status,
                "by_weight": list(self._by_weight.items()),
                "late": self._late,
            }
        )

    @classmethod
    def load(cls, state: bytes) -> Evidence:
        """From a checkpoint."""
        held = msgspec.msgpack.decode(state)
        self = cls(msgspec.convert(held["spec"], EvidenceSpec))
        self._open = {i: [a, w, None if x is None else tuple(x)] for i, (a, w, x) in held["open"].items()}
        self._buckets = {bucket: ids for bucket, ids in held["buckets"]}
        self._early = {i: tuple(a) for i, a in held["early"].items()}
        self._closed, self._status, self._late = held["closed"], held["status"], held["late"]
        self._by_weight = dict(map(tuple, held["by_weight"]))
        for gate, one in zip(self._gates, held["gates"], strict=True):
            gate.restore(one)
        return self
